-- Return a stretch of the log: the epoch, the head, and lines joined by newlines.
--
-- KEYS: the tenant's meta and its log. ARGV: 1 the position that it begins behind, 2 how many events at most, 3 after
-- how many bytes it may end.

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head')
local lines, size, after, left = {}, 0, ARGV[1], tonumber(ARGV[2])
-- A few at a time: whatever is fetched has to be copied, though it should turn out to be too much.
local step, most = 4, tonumber(ARGV[3])
while left > 0 and size <= most do
  local found = redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+', 'COUNT', math.min(step, left))
  for _, entry in ipairs(found) do
    local line = entry[2][6]
    table.insert(lines, line)
    size = size + #line
    after = string.match(entry[1], '^%d+')
  end
  if #found < math.min(step, left) then
    break
  end
  left, step = left - #found, math.min(2 * step, 32)
end
return {meta[1] or '', meta[2] or '0', table.concat(lines, '\n')}
