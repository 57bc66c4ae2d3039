-- Return what a screen was granted, once; "" if that was not approved yet, nil if it does not wait any more.
--
-- ARGV: 1 the digest of its secret, 2 the time.

local code = redis.call('HGET', key('codes'), ARGV[1])
if not code or not is_waiting(code, tonumber(ARGV[2])) then
  return false
end
local grant = redis.call('HGET', key('grants'), code)
if not grant then
  return ''
end
end_waiting(code)
return grant
