-- Add or replace a user.
--
-- ARGV: 1 the name, 2 the record, 3 "create" or "replace", 4 the maximum number of users. Returns 1; 0 if there is one,
-- or none; -1 if there is no room.

local is_known = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
if is_known == (ARGV[3] == 'create') then
  return 0
elseif not is_known and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return -1
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', key('usernames'), 0, ARGV[1])
return 1
