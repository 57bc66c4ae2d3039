-- Store how many connections users have at a node, and announce users who have come online.
--
-- ARGV, after those of publish.lua up to 9: 10 the node, then one JSON object per user: {"name", "count" (connections
-- at the node), "announced" (whether presence.changed is published for this user), "grace" (seconds between the last
-- disconnect and the offline announcement), "draft" (see presence_event.lua), "age" (seconds since the oldest of the
-- connections at the node was opened; optional)}. Returns a JSON array: for each user an object of connection counts by
-- node, and an object of the times at which the oldest connection was opened by node (Unix seconds; where known).

local node, now = ARGV[10], redis_time()
local counts = {}
for at = 11, #ARGV do
  local user = cjson.decode(ARGV[at])
  local record = load_record(user.name)
  if user.count > 0 then
    local was_online = connections(record) > 0
    record.n[node] = user.count
    if user.age then
      record.oldest = record.oldest or {}
      record.oldest[node] = now - user.age
    end
    redis.call('SADD', key('here:' .. node), user.name)
    if redis.call('ZREM', key('farewells'), user.name) == 0 and not was_online then
      record.since = now
    end
    redis.call('ZREM', key('seen'), user.name)
    record.person = record.person or user.announced
    -- Also if the state lacks the user: an earlier release did not keep presence there.
    if record.person and not (record.told and is_in_state(presence_entity(user.draft))) then
      append_presence_event(record, user.draft, true)
    end
    save_record(user.name, record)
  elseif record.n[node] then
    remove_node(user.name, record, node, user.grace, now)
    save_record(user.name, record)
  end
  table.insert(counts, '[' .. json_object(record.n) .. ',' .. json_object(record.oldest or {}) .. ']')
end
return '[' .. table.concat(counts, ',') .. ']'
