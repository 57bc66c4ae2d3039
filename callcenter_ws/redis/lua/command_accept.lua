-- Add a command, unless one with its key is remembered. Returns {1}; {0, record, state} of the known one; {-1} if too
-- many of the tenant are open.
--
-- ARGV: 1 its field, 2 its record, 3 the time before which a closed one was accepted that is forgotten, 4 the maximum
-- number of open commands, 5 of all.

local FORGET = 100

local field, forgotten = ARGV[1], tonumber(ARGV[3])
local known, state = read_command(field)
if known and state and (is_open(state) or cjson.decode(known).accepted_ms > forgotten) then
  return {0, known, state}
end
local open, most = redis.call('ZCARD', key('commandsdue')), tonumber(ARGV[5])
if open >= tonumber(ARGV[4]) or open >= most then
  return {-1}
end
local record = cjson.decode(ARGV[2])
-- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
redis.call('HSET', key('commands'), field, ARGV[2])
redis.call('HSET', key('commandstates'), field, 'accepted')
redis.call('ZADD', key('commandsdue'), string.format('%.0f', record.deadline_ms), field)
redis.call('ZADD', commands_of(record), next_command_number(), field)
redis.call('EXPIRE', commands_of(record), COMMANDS_LIFETIME)
redis.call('ZREM', key('commandsclosed'), field)
for _, oldest in ipairs(redis.call('ZRANGE', key('commandsclosed'), 0, FORGET - 1)) do
  local is_too_many = redis.call('HLEN', key('commands')) > most
  local closed = redis.call('HGET', key('commands'), oldest)
  if not is_too_many and closed and cjson.decode(closed).accepted_ms > forgotten then
    break
  end
  redis.call('HDEL', key('commands'), oldest)
  redis.call('HDEL', key('commandstates'), oldest)
  redis.call('ZREM', key('commandsclosed'), oldest)
end
extend_commands()
return {1}
