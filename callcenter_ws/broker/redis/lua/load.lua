-- Return the tenant's state as of one moment: the epoch, the head, and the lines that it is made of, in no order.
--
-- ARGV as history.lua says.

local epoch, head = history()
return {epoch, tostring(head), table.concat(redis.call('HVALS', key('slots')), '\n')}
