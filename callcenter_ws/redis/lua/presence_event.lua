-- Append presence.changed to the tenant's stream, in the same script that changes the presence record: it is published
-- exactly once.
--
-- ARGV 8 and 9: see publish.lua. A draft is {"id", "at" (Unix time), "head" (the event's line up to its payload),
-- "user" (the user's id as JSON)}.

local function presence_entity(draft)
  return '["presence",' .. draft.user .. ']'
end

local function append_presence_event(record, draft, online)
  local epoch, head = history()
  local seq, reason = head + 1, online and 'connected' or 'disconnected'
  local rest = string.format('%s{"user_id":%s,"online":%s,"connections":%d,"reason":"%s"}]',
    draft.head, draft.user, tostring(online), connections(record), reason)
  local facts = {entity = presence_entity(draft), keeps = online and 'online' or nil, lasting = true}
  local line, _, log_bytes = append(seq, draft.id, draft.at, rest, facts, first_log_bytes())
  redis.call('HSET', KEYS[1], 'head', seq, 'logbytes', log_bytes)
  trim_log(tonumber(ARGV[8]), tonumber(draft.at) - tonumber(ARGV[9]), 0)
  expire_log(tonumber(ARGV[9]))
  announce(epoch, seq, seq, {line})
  record.told = online
end
