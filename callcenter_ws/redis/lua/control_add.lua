-- Append a control message to the stream that all nodes read, store the revocations in it, and announce it.
--
-- KEYS: 1 the stream of control messages (stored as "orders"), 2 the revocations. ARGV: 1 the channel, 2 the message
-- (JSON), 3 the maximum number of revocations, then pairs of a revoked subject and the Unix time.
-- Returns the id of the stream entry, or nil if there is no room for the revocations.

for at = 4, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then
    return nil
  end
end
for at = 4, #ARGV, 2 do
  -- The later time is kept: a node whose clock is behind must not make a revocation weaker.
  local known = redis.call('HGET', KEYS[2], ARGV[at])
  if not known or tonumber(known) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'o', ARGV[2])
redis.call('SPUBLISH', ARGV[1], id)
return id
