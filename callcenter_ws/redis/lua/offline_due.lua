-- Return the users of a tenant whose grace is over and who have not been announced offline yet.
--
-- KEYS: the tenant's pending offline announcements ("farewells"). ARGV: the maximum number of users.

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
return redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
