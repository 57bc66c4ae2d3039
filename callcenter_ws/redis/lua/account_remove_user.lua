-- Remove a user with all sessions. ARGV: 1 the name. Returns the record, or nil.

local record = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', key('usernames'), ARGV[1])
for _, id in ipairs(redis.call('ZRANGE', key('of:person:' .. ARGV[1]), 0, -1)) do
  end_session(id)
end
return record
