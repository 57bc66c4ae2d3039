-- Record that a command is about to be sent to its source; return its record, or nil unless it is accepted and its
-- deadline lies ahead.
--
-- ARGV: 1 its field, 2 the time.

local record, state = read_command(ARGV[1])
if not record or state ~= 'accepted' then
  return nil
end
local decoded = cjson.decode(record)
if decoded.deadline_ms <= tonumber(ARGV[2]) then
  return nil
end
-- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
redis.call('HSET', key('commandstates'), ARGV[1], 'dispatched')
redis.call('ZREM', commands_of(decoded), ARGV[1])
return record
