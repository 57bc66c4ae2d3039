-- Remove a tenant without open commands from the sorted set KEYS[1], unless one was accepted since.
--
-- ARGV: 1 the tenant, 2 its score when it had none.

if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1])) == tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
