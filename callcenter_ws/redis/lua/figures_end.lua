-- Remove the live figures, the hold and the claim of a tenant, and announce it, unless another process has the claim.
--
-- ARGV: 1 the process, 2 the tenant's channel.

local lease = redis.call('HMGET', key('figurelease'), 'holder', 'until')
local time = redis.call('TIME')
if lease[1] and lease[1] ~= '' and lease[1] ~= ARGV[1] and tonumber(lease[2]) / 1000 > tonumber(time[1]) then
  return 0
end
local removed = redis.call('HDEL', KEYS[1], 'hold', 'holdevents', 'holdbytes')
removed = removed + redis.call('UNLINK', key('figurelive'), key('figurelease'))
if removed > 0 then
  redis.call('SPUBLISH', ARGV[2], '=\n')
end
return 1
