-- The presence records of a tenant's users. Fields of a record (MessagePack): "n", connections by node; "person",
-- whether presence.changed is published for the user; "told", whether the last published one says online; "since", when
-- the user came online; "seen", when its last connection was closed (Unix seconds); "oldest", when the oldest connection
-- was opened by node, if policy.over_user_limit needs it. "person" and "told" are names kept for compatibility.

local MAX_OFFLINE_USERS = 50000

local function redis_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function load_record(user)
  local packed = redis.call('HGET', key('presence'), user)
  return packed and cmsgpack.unpack(packed) or {n = {}, told = false, person = false}
end

local function connections(record)
  local total = 0
  for _, count in pairs(record.n) do
    total = total + count
  end
  return total
end

local function save_record(user, record)
  redis.call('HSET', key('presence'), user, cmsgpack.pack(record))
end

-- cjson would encode an empty table as an object or an array, depending on its version.
local function json_object(values)
  return next(values) == nil and '{}' or cjson.encode(values)
end

-- Remove the user's connections at a node. If no other node has any, the user is offline when the grace is over.
local function remove_node(user, record, node, grace, now)
  record.n[node] = nil
  if record.oldest then
    record.oldest[node] = nil
  end
  redis.call('SREM', key('here:' .. node), user)
  if connections(record) == 0 then
    record.seen = now
    redis.call('ZADD', key('farewells'), now + grace, user)
  end
end
