-- Mark items of a user's mailbox as written to a socket ("sent"), or delete them ("acknowledged").
--
-- KEYS: the tenant's meta. ARGV: 1 the user, 2 "sent" or "acknowledged", then event ids. Returns how many were deleted.

local base = string.sub(KEYS[1], 1, -5)
local user = ARGV[1]
local order, sent = base .. 'mail:' .. user, base .. 'sent:' .. user
local deleted = 0

-- Return the ids, and the names of further items with one of them, as stream.lua makes them.
local function items_with(ids)
  if redis.call('EXISTS', base .. 'mailagain:' .. user) == 0 then
    return ids
  end
  local wanted, all = {}, {}
  for _, id in ipairs(ids) do
    wanted[id] = true
    table.insert(all, id)
  end
  for _, name in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    if wanted[string.match(name, '^%z%d+ (.*)$') or false] then
      table.insert(all, name)
    end
  end
  return all
end

for _, id in ipairs(items_with({unpack(ARGV, 3)})) do
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
