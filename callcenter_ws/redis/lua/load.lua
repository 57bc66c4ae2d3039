-- Return what the tenant's state is made of: the epoch, the head, and the positions of the events, in no order. The
-- events themselves are read by page.lua: all at once they would keep Redis from everybody else.
--
-- ARGV as history.lua says.

local epoch, head = history()
return {epoch, tostring(head), table.concat(redis.call('HKEYS', key('slots')), ',')}
