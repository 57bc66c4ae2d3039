-- Return some of the events of the tenant's state: the epoch, the head, how many positions were looked at, and lines
-- joined by newlines. What the state has let go meanwhile is left out.
--
-- KEYS: the tenant's meta and its slots. ARGV: 1 after how many bytes it may end, then positions.

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head')
local lines, size, taken = {}, 0, 0
for at = 2, #ARGV do
  local line = redis.call('HGET', KEYS[2], ARGV[at])
  taken = taken + 1
  if line then
    table.insert(lines, line)
    size = size + #line
    if size > tonumber(ARGV[1]) then
      break
    end
  end
end
return {meta[1] or '', meta[2] or '0', taken, table.concat(lines, '\n')}
