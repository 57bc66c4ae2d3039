-- Return a page of a user's mailbox: the range of dropped events ("from to", or ""), and lines joined by newlines, each
-- preceded by "1 " if it was written to a socket before, else by "0 ".
--
-- The items are stored as "letters". KEYS: the tenant's meta. ARGV: 1 the user, 2 the position after which the page begins, 3 the maximum number of items,
-- 4 the Unix time.

local user, after = ARGV[1], tonumber(ARGV[2])
local order, ends = base .. 'mail:' .. user, base .. 'mailends:' .. user
local items, sent, losses = base .. 'letters:' .. user, base .. 'sent:' .. user, base .. 'losses'
local WEEK = 7 * 86400
local PAGE_BYTES = 262144

-- Remove what has expired. An item that was kept for the whole week is a loss; one that expired earlier by its own
-- expiry is not.
local expired = redis.call('ZRANGE', ends, '-inf', ARGV[4], 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
for at = 1, #expired, 2 do
  local id = expired[at]
  local received_at = tonumber(string.match(redis.call('HGET', items, id) or '0 ', '^%S+'))
  local seq = redis.call('ZSCORE', order, id)
  if seq and tonumber(expired[at + 1]) >= received_at + WEEK then
    record_loss(user, tonumber(seq))
  end
  redis.call('ZREM', order, id)
  redis.call('ZREM', ends, id)
  redis.call('HDEL', items, id)
  redis.call('SREM', sent, id)
end
local lines, size = {}, 0
for _, id in ipairs(redis.call('ZRANGE', order, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3])) do
  local item = redis.call('HGET', items, id)
  if item then
    local line = string.match(item, '^%S+ (.*)$')
    table.insert(lines, (redis.call('SISMEMBER', sent, id) == 1 and '1 ' or '0 ') .. line)
    size = size + #line
    if size > PAGE_BYTES then
      break
    end
  end
end
local loss = redis.call('HGET', losses, user) or ''
if redis.call('ZCARD', order) == 0 then
  redis.call('SREM', base .. 'mailusers', user)
  if after == 0 and loss ~= '' then
    -- The mailbox is empty: no acknowledgement will follow that would delete the loss.
    redis.call('HDEL', losses, user)
  end
end
return {loss, table.concat(lines, '\n')}
