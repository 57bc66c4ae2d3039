-- Return what the tenant's state consists of: the epoch, the head, and the positions of its events, unordered. The
-- events are read by state_events.lua in parts: reading all of them at once would block Redis.
--
-- ARGV: see epoch.lua.

local epoch, head = history()
local positions = {}
for _, name in ipairs({'slots', 'messages', 'lastinglines'}) do
  local found = redis.call('HKEYS', key(name))
  if #found > 0 then
    table.insert(positions, table.concat(found, ','))
  end
end
return {epoch, tostring(head), table.concat(positions, ',')}
