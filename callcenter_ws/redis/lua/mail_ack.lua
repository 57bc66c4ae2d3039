-- Mark items of a user's mailbox as written to a socket ("sent"), or delete them ("acknowledged").
--
-- KEYS: the tenant's meta. ARGV: 1 the user, 2 "sent" or "acknowledged", then event ids. Returns how many were deleted.

local base = string.sub(KEYS[1], 1, -5)
local user = ARGV[1]
local order, sent = base .. 'mail:' .. user, base .. 'sent:' .. user
local deleted = 0
for at = 3, #ARGV do
  local id = ARGV[at]
  if ARGV[2] == 'sent' then
    if redis.call('ZSCORE', order, id) then
      redis.call('SADD', sent, id)
    end
  elseif redis.call('ZREM', order, id) == 1 then
    deleted = deleted + 1
    redis.call('ZREM', base .. 'mailends:' .. user, id)
    redis.call('HDEL', base .. 'letters:' .. user, id)
    redis.call('SREM', sent, id)
  end
end
if ARGV[2] == 'sent' then
  redis.call('EXPIRE', sent, 14 * 86400)
elseif deleted > 0 then
  -- The client was sent the losses before these items.
  redis.call('HDEL', base .. 'losses', user)
  if redis.call('ZCARD', order) == 0 then
    redis.call('SREM', base .. 'mailusers', user)
  end
end
return deleted
