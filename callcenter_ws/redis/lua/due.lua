-- Return who of a tenant's users is to be announced gone by now, at most so many.
--
-- KEYS: the tenant's farewells. ARGV: how many.

local time = redis.call('TIME')
return redis.call('ZRANGE', KEYS[1], '-inf', tonumber(time[1]) + tonumber(time[2]) / 1000000, 'BYSCORE', 'LIMIT', 0, ARGV[1])
