-- Return events of the tenant's state: the epoch, the head, how many of the given positions were read, and lines joined
-- by newlines. Events that the state has dropped since are left out.
--
-- KEYS: the tenant's meta and the hashes of the lines of its state. ARGV: 1 the number of bytes after which the page ends, then positions.

local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head')
local lines, size, count = {}, 0, 0
for at = 2, #ARGV do
  local line = redis.call('HGET', KEYS[2], ARGV[at]) or redis.call('HGET', KEYS[3], ARGV[at])
    or redis.call('HGET', KEYS[4], ARGV[at])
  count = count + 1
  if line then
    table.insert(lines, line)
    size = size + #line
    if size > tonumber(ARGV[1]) then
      break
    end
  end
end
return {meta[1] or '', meta[2] or '0', count, table.concat(lines, '\n')}
