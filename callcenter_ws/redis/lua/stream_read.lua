-- Return a range of the log: the epoch, the head, and lines joined by newlines.
--
-- KEYS: the tenant's meta and its log. ARGV: 1 the position after which the range begins, 2 the maximum number of
-- events, 3 the number of bytes after which the range ends.

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head')
local lines, size, after, left = {}, 0, ARGV[1], tonumber(ARGV[2])
-- A few events per XRANGE: what it returns is copied even if it turns out to exceed the limit.
local step, max_bytes = 4, tonumber(ARGV[3])
while left > 0 and size <= max_bytes do
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
