-- Renew a node's lease, and that of the reaper if the node is the reaper or there is none.
--
-- KEYS: 1 the leases, 2 the reaper (stored as "caretaker"), 3 the evictions under way ("burials"), 4 the nodes with
-- unreported users ("behind"). ARGV: 1 the node, 2
-- the length of the lease in seconds, 3 whether the node has reported all its users (1 or 0). Returns JSON: [whether
-- the node was known, whether it is the reaper, now, {node: expiry}, [nodes with unreported users], [nodes that are
-- being evicted]].

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local eviction = redis.call('HGET', KEYS[3], ARGV[1])
if eviction then
  -- The node is alive. The reaper may not have noticed that yet, so the node has to report all its users twice.
  known = false
  if eviction == 'begun' then
    redis.call('HSET', KEYS[3], ARGV[1], 'over')
  else
    redis.call('HDEL', KEYS[3], ARGV[1])
  end
end
redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[2])), ARGV[1])
redis.call(known and ARGV[3] == '1' and 'SREM' or 'SADD', KEYS[4], ARGV[1])

local acquired = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', math.ceil(tonumber(ARGV[2]) * 1000))
local is_reaper = acquired or redis.call('GET', KEYS[2]) == ARGV[1]
if is_reaper and not acquired then
  redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[2]) * 1000))
end

local leases, incomplete, evictions = {}, {}, {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  table.insert(leases, cjson.encode(all[at]) .. ':' .. all[at + 1])
end
for _, node in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  table.insert(incomplete, cjson.encode(node))
end
-- One scan returns all of them unless there are more than a hundred; the rest follow in later renewals.
all = redis.call('HSCAN', KEYS[3], 0, 'COUNT', 1000)[2]
for at = 1, #all, 2 do
  if all[at + 1] == 'begun' then
    table.insert(evictions, cjson.encode(all[at]))
  end
end
return string.format('[%s,%s,%.6f,{%s},[%s],[%s]]', known and 'true' or 'false', is_reaper and 'true' or 'false', now,
  table.concat(leases, ','), table.concat(incomplete, ','), table.concat(evictions, ','))
