-- Return JSON about users: for each its counts by node, since when it is here, and when it was seen last (0: unknown).
--
-- KEYS: the tenant's meta. ARGV: the users.

local base = string.sub(KEYS[1], 1, -5)
local found = {}
for _, who in ipairs(ARGV) do
  local packed = redis.call('HGET', base .. 'presence', who)
  local record = packed and cmsgpack.unpack(packed) or {n = {}}
  local counts = next(record.n) == nil and '{}' or cjson.encode(record.n)
  table.insert(found, string.format('[%s,%.6f,%.6f]', counts, record.since or 0, record.seen or 0))
end
return '[' .. table.concat(found, ',') .. ']'
