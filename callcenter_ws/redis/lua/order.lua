-- Order all nodes to do something, and remember what was revoked.
--
-- KEYS: 1 the orders, 2 the revocations. ARGV: 1 the channel, 2 the order (JSON), 3 how many revocations there may be,
-- then pairs of what is revoked and the Unix time. Returns the order's id, or nil when there is no room.

for at = 4, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then
    return nil
  end
end
for at = 4, #ARGV, 2 do
  -- A node whose clock is behind takes nothing back.
  local known = redis.call('HGET', KEYS[2], ARGV[at])
  if not known or tonumber(known) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'o', ARGV[2])
redis.call('SPUBLISH', ARGV[1], id)
return id
