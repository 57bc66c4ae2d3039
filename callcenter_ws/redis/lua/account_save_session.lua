-- Add a session, or replace one that has not ended. Of an owner with too many the one that was used least recently ends.
--
-- ARGV: 1 the record, 2 the time, 3 "create" or "replace", 4 the maximum number of sessions of an owner, 5 of all.
-- Returns 1; 0 if there is one, or none; -1 if there is no room.

local session, now = cjson.decode(ARGV[1]), tonumber(ARGV[2])
forget_sessions(now)
local ends = redis.call('ZSCORE', key('ends'), session.id)
local is_known = ends and tonumber(ends) > now
if (is_known or false) == (ARGV[3] == 'create') then
  return 0
end
local owner = owner_of(session)
if not is_known then
  -- One that has ended may be there still, if many have ended.
  end_session(session.id)
  local excess = owner and redis.call('ZCARD', key(owner)) + 1 - tonumber(ARGV[4]) or 0
  if excess > 0 then
    for _, id in ipairs(redis.call('ZRANGE', key(owner), 0, excess - 1)) do
      end_session(id)
    end
  end
  if redis.call('ZCARD', key('ends')) >= tonumber(ARGV[5]) then
    return -1
  end
end
redis.call('HSET', key('sessions'), session.id, ARGV[1])
redis.call('ZADD', key('ends'), string.format('%.6f', session.expires_at), session.id)
redis.call('ZADD', key('listed'), 0, session.public_id .. ':' .. session.id)
if owner then
  redis.call('ZADD', key(owner), string.format('%.6f', session.used_at), session.id)
end
expire('ends', now, 'sessions', 'listed', owner)
return 1
