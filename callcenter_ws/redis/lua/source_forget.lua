-- Remove tenants from a source, and the source with its last tenant.
--
-- ARGV: 1 the source, 2 "look" or "remove", 3 the tenants (JSON), 4 the connection that may remove them while it is that
-- of the source, or "". Returns {"ok", number of the lease, claimed, facts}, {"in_use"}, or {"unknown"}.

local of = key('of:' .. ARGV[1])
local known = redis.call('HMGET', of, 'instance', 'lease', 'claimed', 'facts', 'link')
if not known[1] then
  return {'unknown'}
elseif known[1] ~= '' and (ARGV[4] == '' or known[5] ~= ARGV[4]) then
  return {'in_use'}
end
if ARGV[2] == 'remove' then
  local released, left = {}, {}
  for _, tenant in ipairs(cjson.decode(ARGV[3])) do
    released[tenant] = true
  end
  for _, tenant in ipairs(cjson.decode(known[3])) do
    if not released[tenant] then
      table.insert(left, tenant)
    end
  end
  if tonumber(redis.call('GET', key('released')) or 0) < tonumber(known[2]) then
    redis.call('SET', key('released'), known[2])
  end
  if #left == 0 then
    redis.call('DEL', of)
    redis.call('ZREM', key('leases'), ARGV[1])
    redis.call('SREM', KEYS[1], ARGV[1])
  else
    redis.call('HSET', of, 'claimed', cjson.encode(left))
  end
end
return {'ok', known[2], known[3], known[4]}
