-- Return JSON: for each user [connections by node, when it came online (0: unknown), when it was last seen (0:
-- unknown)].
--
-- KEYS: the tenant's meta. ARGV: the users.

local base = string.sub(KEYS[1], 1, -5)
local found = {}
for _, user in ipairs(ARGV) do
  local packed = redis.call('HGET', base .. 'presence', user)
  local record = packed and cmsgpack.unpack(packed) or {n = {}}
  local counts = next(record.n) == nil and '{}' or cjson.encode(record.n)
  table.insert(found, string.format('[%s,%.6f,%.6f]', counts, record.since or 0, record.seen or 0))
end
return '[' .. table.concat(found, ',') .. ']'
