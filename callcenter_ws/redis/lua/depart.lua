-- A node is dead: its users are gone from there. A bounded number at a time; returns how many are left.
--
-- KEYS: the tenant's meta. ARGV: 1 the node, 2 the grace in seconds.

local now, left = moment(), 0
local members = redis.call('SRANDMEMBER', key('here:' .. ARGV[1]), 200)
for _, who in ipairs(members) do
  local record = record_of(who)
  leave(who, record, ARGV[1], tonumber(ARGV[2]), now)
  keep(who, record)
end
return redis.call('SCARD', key('here:' .. ARGV[1]))
