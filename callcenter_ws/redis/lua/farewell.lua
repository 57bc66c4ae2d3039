-- Announce users gone who have been away for longer than their grace.
--
-- ARGV, beyond those of publish.lua up to 9: for each user JSON: {"who", "draft"} as attend.lua says.

local now = moment()
for at = 10, #ARGV do
  local user = cjson.decode(ARGV[at])
  local due = redis.call('ZSCORE', key('farewells'), user.who)
  if due and tonumber(due) <= now then
    redis.call('ZREM', key('farewells'), user.who)
    local record = record_of(user.who)
    if connections(record) == 0 then
      if record.told then
        tell(record, user.draft, false)
      end
      record.since, record.person = nil, false
      keep(user.who, record)
      redis.call('ZADD', key('seen'), record.seen or now, user.who)
      if redis.call('ZCARD', key('seen')) > MOST_REMEMBERED then
        redis.call('HDEL', key('presence'), redis.call('ZPOPMIN', key('seen'))[1])
      end
    end
  end
end
