-- Return what the state has of an entity: its owner, the position of its last event and the Unix time at which that was
-- received, and the lines of its events joined by newlines, without those of the messages of a chat. "" for what there
-- is not.
--
-- ARGV: 1 the entity.

local owner, by, at, lines = '', '', '', {}
local function read_line(name, seq)
  local line = redis.call('HGET', key(name), seq)
  if line then
    table.insert(lines, line)
  end
end
local packed = redis.call('HGET', key('entities'), ARGV[1])
if packed then
  local entity = cmsgpack.unpack(packed)
  owner, by, at = entity.o or '', string.format('%.0f', entity.by), string.format('%.17g', entity.at)
  for seq in pairs(sources(entity)) do
    read_line('slots', seq)
  end
end
local lasting = is_in_state(ARGV[1])
if lasting then
  read_line('lastinglines', lasting)
end
return {owner, by, at, table.concat(lines, '\n')}
