-- Renew a node's lease, and the caretaker's if the node is that or nobody is.
--
-- KEYS: 1 the leases, 2 the caretaker. ARGV: 1 the node, 2 for how many seconds.
-- Returns JSON: [whether it had a lease, whether it is the caretaker, now, {node: until when}].

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local had = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[2])), ARGV[1])
local taken = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', math.ceil(tonumber(ARGV[2]) * 1000))
local is_caretaker = taken or redis.call('GET', KEYS[2]) == ARGV[1]
if is_caretaker and not taken then
  redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[2]) * 1000))
end
local leases = {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  table.insert(leases, cjson.encode(all[at]) .. ':' .. all[at + 1])
end
return string.format('[%s,%s,%.6f,{%s}]', had and 'true' or 'false', is_caretaker and 'true' or 'false', now,
  table.concat(leases, ','))
