-- Write the revocations that a node knows back to Redis. Of two times for one subject the later one is kept.
--
-- KEYS: the revocations. ARGV: pairs of a revoked subject and the Unix time. Returns how many were missing or older.

local restored = 0
for at = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[at])
  if not known or tonumber(known) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    restored = restored + 1
  end
end
return restored
