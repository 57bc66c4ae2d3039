-- Return what the tenant's state consists of: the epoch, the head, and the positions of its events, unordered. The
-- events are read by state_events.lua in parts: reading all of them at once would block Redis.
--
-- ARGV: see epoch.lua.

local epoch, head = history()
return {epoch, tostring(head), table.concat(redis.call('HKEYS', key('slots')), ',')}
