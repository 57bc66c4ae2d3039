-- Forget revocations that are older than they need to be kept, a bounded number at a time.
--
-- KEYS: the revocations. ARGV: 1 where the last call ended, 2 how many to look at, 3 for how many seconds they are kept.
-- Returns where this call has ended: 0 at the end.

local time = redis.call('TIME')
local oldest = tonumber(time[1]) - tonumber(ARGV[3])
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for at = 1, #found[2], 2 do
  if tonumber(found[2][at + 1]) < oldest then
    redis.call('HDEL', KEYS[1], found[2][at])
  end
end
return found[1]
