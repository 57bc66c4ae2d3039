-- Return a stretch of a user's mailbox: what fell out of it ("from to", or ""), and lines, each behind "1 " if it was
-- written to a socket before, else "0 ".
--
-- KEYS: the tenant's meta. ARGV: 1 the user, 2 the position that it begins behind, 3 how many messages at most, 4 the
-- Unix time.

local user, after = ARGV[1], tonumber(ARGV[2])
local order, ends = base .. 'mail:' .. user, base .. 'mailends:' .. user
local letters, sent, losses = base .. 'letters:' .. user, base .. 'sent:' .. user, base .. 'losses'
local WEEK = 7 * 86400

-- What waited too long falls out; what ended by itself is no loss.
local ended = redis.call('ZRANGE', ends, '-inf', ARGV[4], 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
for at = 1, #ended, 2 do
  local id = ended[at]
  local received_at = tonumber(string.match(redis.call('HGET', letters, id) or '0 ', '^%S+'))
  local seq = redis.call('ZSCORE', order, id)
  if seq and tonumber(ended[at + 1]) >= received_at + WEEK then
    lose(user, tonumber(seq))
  end
  redis.call('ZREM', order, id)
  redis.call('ZREM', ends, id)
  redis.call('HDEL', letters, id)
  redis.call('SREM', sent, id)
end
local lines, size = {}, 0
for _, id in ipairs(redis.call('ZRANGE', order, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3])) do
  local letter = redis.call('HGET', letters, id)
  if letter then
    local line = string.match(letter, '^%S+ (.*)$')
    table.insert(lines, (redis.call('SISMEMBER', sent, id) == 1 and '1 ' or '0 ') .. line)
    size = size + #line
    if size > 262144 then
      break
    end
  end
end
local loss = redis.call('HGET', losses, user) or ''
if redis.call('ZCARD', order) == 0 then
  redis.call('SREM', base .. 'mailusers', user)
  if after == 0 and loss ~= '' then
    -- Nothing will be taken that would tell that the loss is known.
    redis.call('HDEL', losses, user)
  end
end
return {loss, table.concat(lines, '\n')}
