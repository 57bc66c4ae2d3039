-- Delete revocations that are older than their time to live, a bounded number per call.
--
-- KEYS: the revocations. ARGV: 1 the HSCAN cursor, 2 how many entries to scan, 3 the time to live in seconds.
-- Returns the next cursor; "0" at the end.

local time = redis.call('TIME')
local oldest = tonumber(time[1]) - tonumber(ARGV[3])
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for at = 1, #found[2], 2 do
  if tonumber(found[2][at + 1]) < oldest then
    redis.call('HDEL', KEYS[1], found[2][at])
  end
end
return found[1]
