-- Announce users offline whose grace is over. Users who have reconnected meanwhile are left as they are.
--
-- ARGV, after those of publish.lua up to 9: one JSON object per user: {"name", "draft"}, see presence_update.lua.

local now = redis_time()
for at = 10, #ARGV do
  local user = cjson.decode(ARGV[at])
  local due = redis.call('ZSCORE', key('farewells'), user.name)
  if due and tonumber(due) <= now then
    redis.call('ZREM', key('farewells'), user.name)
    local record = load_record(user.name)
    if connections(record) == 0 then
      if record.told then
        append_presence_event(record, user.draft, false)
      end
      record.since, record.person = nil, false
      save_record(user.name, record)
      redis.call('ZADD', key('seen'), record.seen or now, user.name)
      if redis.call('ZCARD', key('seen')) > MAX_OFFLINE_USERS then
        redis.call('HDEL', key('presence'), redis.call('ZPOPMIN', key('seen'))[1])
      end
    end
  end
end
