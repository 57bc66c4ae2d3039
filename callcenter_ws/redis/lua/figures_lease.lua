-- Take, extend or give back the right to fold the tenant. Returns {fence, 1 if it is held}.
--
-- ARGV: 1 the process, 2 seconds of the lease, 3 the fence to give back, or "".

local lease = redis.call('HMGET', key('figurelease'), 'holder', 'until', 'fence')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local fence = tonumber(lease[3] or 0)
if ARGV[3] ~= '' then
  if lease[1] == ARGV[1] and fence == tonumber(ARGV[3]) then
    redis.call('HSET', key('figurelease'), 'holder', '', 'until', 0)
  end
  return {fence, 0}
end
local is_free = not lease[1] or lease[1] == '' or tonumber(lease[2]) <= now
if lease[1] ~= ARGV[1] then
  if not is_free then
    return {fence, 0}
  end
  -- Also higher than before if Redis has lost the lease.
  fence = math.max(fence + 1, now)
end
-- A lease that has expired is extended if no other process has taken it: nothing was written since.
redis.call('HSET', key('figurelease'), 'holder', ARGV[1], 'until',
  string.format('%.0f', now + 1000 * tonumber(ARGV[2])), 'fence', string.format('%.0f', fence))
return {fence, 1}
