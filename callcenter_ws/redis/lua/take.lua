-- Note of a user's messages that they were written to a socket ("sent"), or strike them off ("taken").
--
-- KEYS: the tenant's meta. ARGV: 1 the user, 2 which of the two, then the events' ids.

local base = string.sub(KEYS[1], 1, -5)
local user = ARGV[1]
local order, sent = base .. 'mail:' .. user, base .. 'sent:' .. user
local taken = 0
for at = 3, #ARGV do
  local id = ARGV[at]
  if ARGV[2] == 'sent' then
    if redis.call('ZSCORE', order, id) then
      redis.call('SADD', sent, id)
    end
  elseif redis.call('ZREM', order, id) == 1 then
    taken = taken + 1
    redis.call('ZREM', base .. 'mailends:' .. user, id)
    redis.call('HDEL', base .. 'letters:' .. user, id)
    redis.call('SREM', sent, id)
  end
end
if ARGV[2] == 'sent' then
  redis.call('EXPIRE', sent, 14 * 86400)
elseif taken > 0 then
  -- What was lost before them was told before them.
  redis.call('HDEL', base .. 'losses', user)
  if redis.call('ZCARD', order) == 0 then
    redis.call('SREM', base .. 'mailusers', user)
  end
end
return taken
