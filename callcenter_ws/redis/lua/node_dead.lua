-- One step in evicting a node. The lease is removed only if it has expired by Redis's clock. If the node has renewed
-- its lease after some of its connections may have been removed, it is marked to report all its users again ("over").
--
-- KEYS: 1 the leases, 2 the evictions under way (stored as "burials"), 3 the nodes with unreported users ("behind").
-- ARGV: 1 the node, 2 the step: "begin"; "continue", before each removal of connections; "end", after the last removal.
-- Returns 1 if the node is dead, else 0.

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) > now then
  if ARGV[2] ~= 'begin' or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[1], 'over')
  end
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[2] == 'end' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], 'begun')
end
return 1
