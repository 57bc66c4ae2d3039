-- Take note of how many connections users have at a node; announce those who have come.
--
-- ARGV, beyond those of publish.lua up to 9: 10 the node, then for each user JSON: {"who", "count", "person" (others are
-- told of it), "grace" (seconds that it may be away), "draft": {"id", "at", "head", "user"}}.
-- Returns JSON: for each user the counts by node.

local node, now = ARGV[10], moment()
local counts = {}
for at = 11, #ARGV do
  local user = cjson.decode(ARGV[at])
  local record = record_of(user.who)
  if user.count > 0 then
    local was_here = connections(record) > 0
    record.n[node] = user.count
    redis.call('SADD', key('here:' .. node), user.who)
    if redis.call('ZREM', key('farewells'), user.who) == 0 and not was_here then
      record.since = now
    end
    redis.call('ZREM', key('seen'), user.who)
    record.person = record.person or user.person
    if record.person and not record.told then
      tell(record, user.draft, true)
    end
    keep(user.who, record)
  elseif record.n[node] then
    leave(user.who, record, node, user.grace, now)
    keep(user.who, record)
  end
  table.insert(counts, next(record.n) == nil and '{}' or cjson.encode(record.n))
end
return '[' .. table.concat(counts, ',') .. ']'
