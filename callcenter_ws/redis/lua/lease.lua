-- Renew a node's lease, and the caretaker's if the node is that or nobody is.
--
-- KEYS: 1 the leases, 2 the caretaker, 3 the burials, 4 the nodes that have not told everything. ARGV: 1 the node, 2 for
-- how many seconds, 3 whether it has told of all its users (1 or 0).
-- Returns JSON: [whether the node was known, whether it is the caretaker, now, {node: until when}, [nodes that have not
-- told everything], [nodes that are being buried]].

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local burial = redis.call('HGET', KEYS[3], ARGV[1])
if burial then
  -- It lives after all. Whoever buries it may not have heard of that yet, so it is to tell everything twice.
  known = false
  if burial == 'begun' then
    redis.call('HSET', KEYS[3], ARGV[1], 'over')
  else
    redis.call('HDEL', KEYS[3], ARGV[1])
  end
end
redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[2])), ARGV[1])
redis.call(known and ARGV[3] == '1' and 'SREM' or 'SADD', KEYS[4], ARGV[1])

local taken = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', math.ceil(tonumber(ARGV[2]) * 1000))
local is_caretaker = taken or redis.call('GET', KEYS[2]) == ARGV[1]
if is_caretaker and not taken then
  redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[2]) * 1000))
end

local leases, behind, burials = {}, {}, {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  table.insert(leases, cjson.encode(all[at]) .. ':' .. all[at + 1])
end
for _, node in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  table.insert(behind, cjson.encode(node))
end
-- All of them, unless there are more than a hundred: then the others are in a later turn.
all = redis.call('HSCAN', KEYS[3], 0, 'COUNT', 1000)[2]
for at = 1, #all, 2 do
  if all[at + 1] == 'begun' then
    table.insert(burials, cjson.encode(all[at]))
  end
end
return string.format('[%s,%s,%.6f,{%s},[%s],[%s]]', known and 'true' or 'false', is_caretaker and 'true' or 'false', now,
  table.concat(leases, ','), table.concat(behind, ','), table.concat(burials, ','))
