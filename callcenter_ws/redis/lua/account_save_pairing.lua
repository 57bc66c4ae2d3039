-- Add a screen that waits.
--
-- ARGV: 1 the digest of its code, 2 that of its secret, 3 when it ends, 4 the time, 5 the maximum number that wait,
-- 6 its network.
-- Returns 1; 0 if there is no room, or the code is in use.

local now = tonumber(ARGV[4])
for _, code in ipairs(redis.call('ZRANGE', key('waitends'), '-inf', now, 'BYSCORE', 'LIMIT', 0, FORGET)) do
  end_waiting(code)
end
if redis.call('ZCARD', key('waitends')) >= tonumber(ARGV[5]) or is_waiting(ARGV[1], now) then
  return 0
end
end_waiting(ARGV[1])
redis.call('HSET', key('waiting'), ARGV[1], ARGV[2] .. ' ' .. ARGV[6])
redis.call('HSET', key('codes'), ARGV[2], ARGV[1])
redis.call('ZADD', key('waitends'), ARGV[3], ARGV[1])
expire('waitends', now, 'waiting', 'codes')
return 1
