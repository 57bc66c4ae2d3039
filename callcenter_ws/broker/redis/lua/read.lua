-- Return a stretch of the log: the epoch, the head, and lines joined by newlines.
--
-- KEYS: the tenant's meta and its log. ARGV: 1 the position that it begins behind, 2 how many events at most, 3 after
-- how many bytes it may end.

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head')
local lines, size = {}, 0
local found = redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
for _, entry in ipairs(found) do
  local line = entry[2][6]
  table.insert(lines, line)
  size = size + #line
  if size > tonumber(ARGV[3]) then
    break
  end
end
return {meta[1] or '', meta[2] or '0', table.concat(lines, '\n')}
