-- Who of a tenant's users is connected, and to which nodes. A user's record says how many connections each node has
-- counted; whether others were told that the user is here; and since when.

local MOST_REMEMBERED = 50000

local function moment()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function record_of(who)
  local packed = redis.call('HGET', key('presence'), who)
  return packed and cmsgpack.unpack(packed) or {n = {}, told = false, person = false}
end

local function connections(record)
  local total = 0
  for _, count in pairs(record.n) do
    total = total + count
  end
  return total
end

local function keep(who, record)
  redis.call('HSET', key('presence'), who, cmsgpack.pack(record))
end

-- The node has no connection of the user any more; if no other has, the user is gone when the grace is over.
local function leave(who, record, node, grace, now)
  record.n[node] = nil
  redis.call('SREM', key('here:' .. node), who)
  if connections(record) == 0 then
    record.seen = now
    redis.call('ZADD', key('farewells'), now + grace, who)
  end
end
