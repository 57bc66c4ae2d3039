-- Return {record, state, record, state, ...} of the open commands whose deadline lies before a time.
--
-- ARGV: 1 the time, 2 a maximum number.

local found = {}
for _, field in ipairs(redis.call('ZRANGE', key('commandsdue'), '-inf', '(' .. ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local record, state = read_command(field)
  table.insert(found, record)
  table.insert(found, state)
end
return found
