-- End the leases that are due, and return ended leases for which source.down may not be published yet: any of them, so
-- that some which cannot be published do not hide the others.
--
-- Time in which no lease could be renewed does not count: Redis stood still, or was not written, or no node was there.
-- After that, leases end no earlier than their length later. A command that waited in Redis's socket meanwhile ends none.
--
-- ARGV: 1 the maximum number of leases that are returned, 2 of those that are ended, 3 the length of a lease, 4 the
-- seconds between two calls, of whatever node, after which the time between them does not count. Returns a flat list of
-- the field of "ending", and "claimed" and "facts" of the source; and how many leases were ended now.

local now = redis_time()
local before = redis.call('HMGET', key('watch'), 'at', 'since')
local since = tonumber(before[2])
if not since or math.abs(now - tonumber(before[1])) > tonumber(ARGV[4]) then
  since = now
end
-- First, because a Redis that is out of memory refuses it; it does not refuse to remove leases.
redis.call('HSET', key('watch'), 'at', string.format('%.6f', now), 'since', string.format('%.6f', since))
local due = {}
if now - since >= tonumber(ARGV[3]) then
  due = redis.call('ZRANGE', key('leases'), '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])
end
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
