-- Return the records of the accepted commands of a source, by acceptance.
--
-- ARGV: 1 the scope of the source, 2 its name, 3 a maximum number.

local fields = redis.call('ZRANGE', key('commandsof:' .. cjson.encode({ARGV[1], ARGV[2]})), 0, tonumber(ARGV[3]) - 1)
return #fields > 0 and redis.call('HMGET', key('commands'), unpack(fields)) or {}
