-- Renew the leases of connected sources.
--
-- ARGV: 1 the lease in seconds, then for each source: its name, its connection, and "announced" if it has just been
-- announced, "lost" if the connection is lost, else "". Returns for each the seconds since it was announced; -1: the
-- connection is not that of the source any more.

local ages, now = {}, redis_time()
for at = 2, #ARGV, 3 do
  local of = key('of:' .. ARGV[at])
  local known = redis.call('HMGET', of, 'link', 'announced')
  if known[1] ~= ARGV[at + 1] then
    table.insert(ages, -1)
  else
    extend_lease(ARGV[at], tonumber(ARGV[1]))
    if ARGV[at + 2] == 'announced' then
      redis.call('HSET', of, 'announced', string.format('%.0f', now))
    elseif ARGV[at + 2] == 'lost' then
      redis.call('HSET', of, 'link', '')
    end
    table.insert(ages, math.floor(math.max(0, now - tonumber(known[2] or 0))))
  end
end
return ages
