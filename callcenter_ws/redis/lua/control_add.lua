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
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for at = 4, #ARGV, 2 do
  -- The latest of the times is kept, also that of Redis's clock: a node whose clock is behind must not make a revocation
  -- weaker.
  local given = tonumber(ARGV[at + 1])
  local revoked_at = given < now and string.format('%.6f', now) or ARGV[at + 1]
  local known = redis.call('HGET', KEYS[2], ARGV[at])
  if not known or tonumber(known) < tonumber(revoked_at) then
    redis.call('HSET', KEYS[2], ARGV[at], revoked_at)
  end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'o', ARGV[2])
redis.call('SPUBLISH', ARGV[1], id)
return id
