-- A step in burying a node. Its lease is taken away only if its time is over by the clock here: a node that lives is left
-- alone, and if anything of what it told may have been struck off already, it is to tell everything anew.
--
-- KEYS: 1 the leases, 2 the burials, 3 the nodes that have not told everything. ARGV: 1 the node, 2 the step: "begin";
-- "go on", before each stroke; "end", when all is struck off. Returns whether the node is dead (1 or 0).

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
