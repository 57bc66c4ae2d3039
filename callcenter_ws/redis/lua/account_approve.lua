-- Record what a screen is granted, once.
--
-- ARGV: 1 the digest of its code, 2 the grant, 3 the time. Returns its network; nil if it does not wait.

if not is_waiting(ARGV[1], tonumber(ARGV[3])) or redis.call('HEXISTS', key('grants'), ARGV[1]) == 1 then
  return false
end
redis.call('HSET', key('grants'), ARGV[1], ARGV[2])
expire('waitends', tonumber(ARGV[3]), 'grants')
return string.match(redis.call('HGET', key('waiting'), ARGV[1]), ' (.*)')
