-- Keep live figures, and announce them. Returns 1; 0 if the process does not hold the tenant any more.
--
-- ARGV: 1 the process, 2 the fence, 3 the tenant's channel, 4 the announcement; then for each live figure its key and
-- its message, or "" if it is removed.

if not is_holder(ARGV[1], ARGV[2]) then
  return 0
end
for at = 5, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', key('figurelive'), ARGV[at])
  else
    redis.call('HSET', key('figurelive'), ARGV[at], ARGV[at + 1])
  end
end
redis.call('SPUBLISH', ARGV[3], ARGV[4])
return 1
