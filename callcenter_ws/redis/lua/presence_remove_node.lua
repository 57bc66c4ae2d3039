-- Remove a dead node's connections from the presence records of one tenant, at most 200 users per call.
--
-- KEYS: the tenant's meta. ARGV: 1 the node, 2 the grace in seconds before its users are announced offline.
-- Returns how many users are left.

local now = redis_time()
local users = redis.call('SRANDMEMBER', key('here:' .. ARGV[1]), 200)
for _, user in ipairs(users) do
  local record = load_record(user)
  remove_node(user, record, ARGV[1], tonumber(ARGV[2]), now)
  save_record(user, record)
end
return redis.call('SCARD', key('here:' .. ARGV[1]))
