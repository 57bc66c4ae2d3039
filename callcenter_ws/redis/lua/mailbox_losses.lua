-- Events that were dropped from users' mailboxes undelivered: for each user the first and the last position.

local MAX_LOSSES = 10000
local LOSS_LIFETIME = 14 * 86400

local function record_loss(user, seq)
  local from, to = seq, seq
  local known = redis.call('HGET', key('losses'), user)
  if known then
    local first, last = string.match(known, '^(%d+) (%d+)$')
    from, to = math.min(from, tonumber(first)), math.max(to, tonumber(last))
  elseif redis.call('HLEN', key('losses')) >= MAX_LOSSES then
    redis.call('HDEL', key('losses'), redis.call('HRANDFIELD', key('losses')))
  end
  redis.call('HSET', key('losses'), user, string.format('%d %d', from, to))
  redis.call('EXPIRE', key('losses'), LOSS_LIFETIME)
end
