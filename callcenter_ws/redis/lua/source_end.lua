-- End the leases that are due, and return ended leases for which source.down may not be published yet: any of them, so
-- that some which cannot be published do not hide the others.
--
-- ARGV: 1 the maximum number of leases, of each. Returns a flat list of the field of "ending", and "claimed" and "facts" of the
-- source; and how many leases were ended now.

local due = redis.call('ZRANGE', key('leases'), '-inf', redis_time(), 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, source in ipairs(due) do
  local of = key('of:' .. source)
  local known = redis.call('HMGET', of, 'lease', 'claimed', 'facts')
  redis.call('ZREM', key('leases'), source)
  if known[1] then
    redis.call('HSET', key('ending'), known[1] .. ' ' .. source, known[2] .. '\n' .. known[3])
    redis.call('HSET', of, 'instance', '', 'link', '', 'lease', string.format('%.0f', tonumber(known[1]) + 1))
    redis.call('HDEL', of, 'announced')
  end
end
return {#due, redis.call('HRANDFIELD', key('ending'), ARGV[1], 'WITHVALUES')}
