-- How the coming and going of a user is announced: as an event of the tenant, in one with the note that it was.
--
-- ARGV 8 and 9 are as publish.lua says. A draft is the line of the event up to its payload, and the user's id as JSON.

local function tell(record, draft, online)
  local epoch, head = history()
  local seq, reason = head + 1, online and 'connected' or 'disconnected'
  local rest = string.format('%s{"user_id":%s,"online":%s,"connections":%d,"reason":"%s"}]',
    draft.head, draft.user, tostring(online), connections(record), reason)
  local line = append(seq, draft.id, draft.at, rest, nil)
  redis.call('HSET', KEYS[1], 'head', seq)
  retain(tonumber(ARGV[8]), tonumber(draft.at) - tonumber(ARGV[9]))
  redis.call('EXPIRE', key('log'), math.ceil(tonumber(ARGV[9])) + 3600)
  announce(epoch, seq, seq, {line})
  record.told = online
end
