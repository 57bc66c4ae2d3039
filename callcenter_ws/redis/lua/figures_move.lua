-- Move rows of a committed write to where they are read. Returns 1 if there are more.
--
-- ARGV: 1 how many rows, 2 how many bytes.

local stage = redis.call('HGET', key('figures'), '!stage')
if not is_committed(stage) then
  return 0
end
local rows, bytes = {}, 0
while #rows < 3 * tonumber(ARGV[1]) and bytes < tonumber(ARGV[2]) do
  -- A removal comes first: a Redis that is out of memory refuses nothing that follows.
  local row = redis.call('LPOP', key('figurestage'), 3)
  if not row then
    break
  end
  for _, text in ipairs(row) do
    table.insert(rows, text)
  end
  bytes = bytes + #row[3]
end
store_rows(rows, 1, #rows / 3)
redis.call('HINCRBY', key('figures'), '!version', 1)
if redis.call('EXISTS', key('figurestage')) == 1 then
  return 1
end
redis.call('HDEL', key('figures'), '!stage')
return 0
