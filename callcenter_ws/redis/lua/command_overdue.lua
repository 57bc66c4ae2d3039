-- Return {record, state, record, state, ...} of the open commands whose deadline lies before a time.
--
-- ARGV: 1 the time, 2 a maximum number.

local found, are_lost = {}, false
repeat
  are_lost = false
  for _, field in ipairs(redis.call('ZRANGE', key('commandsdue'), '-inf', '(' .. ARGV[1], 'BYSCORE', 'LIMIT', 0,
    ARGV[2])) do
    local record, state = read_command(field)
    if record and is_open(state) then
      table.insert(found, record)
      table.insert(found, state)
    else
      -- Redis has lost a part of it: it evicts keys, or a person deleted one.
      redis.call('ZREM', key('commandsdue'), field)
      are_lost = true
    end
  end
until #found > 0 or not are_lost
return found
