-- The users of the pages, their sessions, and screens that wait. KEYS[1] is the hash of users by name; "usernames", the
-- sorted set of their names; "sessions", the hash of sessions by id; "ends", their ends; "listed", their public ids and
-- ids as PUBLIC:ID; "of:OWNER", the sessions that count together, by their last use; "waiting", the hash of screens that
-- wait: the digests of their secrets and their networks, by the digests of their codes; "codes", the codes by the secrets;
-- "grants", what was granted to them; "waitends", when they end.
--
-- Times are Unix seconds by Redis's clock, as the gateway knows it.

local FORGET = 100

local base = string.sub(KEYS[1], 1, -6)

local function key(name)
  return base .. name
end

-- Redis removes the keys when their last entry has ended, even if no gateway asks for them any more.
local function expire(ends, now, ...)
  local last = redis.call('ZRANGE', key(ends), 0, 0, 'REV', 'WITHSCORES')
  if last[1] then
    local milliseconds = string.format('%.0f', math.max(1, math.ceil((tonumber(last[2]) - now) * 1000)))
    for _, name in ipairs({ends, ...}) do
      redis.call('PEXPIRE', key(name), milliseconds)
    end
  end
end

-- Return the name of the sessions that count together: those of a user, or of one role of the demo; nil for a screen.
local function owner_of(session)
  if session.kind == 'person' then
    return 'of:person:' .. session.name
  end
  return session.kind == 'demo' and 'of:demo:' .. session.user_id or nil
end

-- Remove a session; return its record.
local function end_session(id)
  local record = redis.call('HGET', key('sessions'), id)
  redis.call('ZREM', key('ends'), id)
  if record then
    local session = cjson.decode(record)
    redis.call('HDEL', key('sessions'), id)
    redis.call('ZREM', key('listed'), session.public_id .. ':' .. id)
    local owner = owner_of(session)
    if owner then
      redis.call('ZREM', key(owner), id)
    end
  end
  return record
end

-- Remove sessions that have ended: the oldest, at most FORGET, so that a script has a bound.
local function forget_sessions(now)
  for _, id in ipairs(redis.call('ZRANGE', key('ends'), '-inf', now, 'BYSCORE', 'LIMIT', 0, FORGET)) do
    end_session(id)
  end
end

local function end_waiting(code)
  local waiting = redis.call('HGET', key('waiting'), code)
  redis.call('HDEL', key('waiting'), code)
  redis.call('HDEL', key('grants'), code)
  redis.call('ZREM', key('waitends'), code)
  if waiting then
    redis.call('HDEL', key('codes'), string.match(waiting, '^[^ ]*'))
  end
end

-- Return whether a screen waits with a code.
local function is_waiting(code, now)
  local ends = redis.call('ZSCORE', key('waitends'), code)
  return ends and tonumber(ends) > now
end
