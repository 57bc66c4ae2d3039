-- Take the name of a source in a tenant, or find out whether that is possible.
--
-- KEYS: the tenant's meta. ARGV: 1 the name, 2 the scope that it belongs to (JSON), 3 the capabilities (JSON), or "" to take
-- nothing, 4 how many names a tenant may have. Returns {"ok", its mark or ""}, {"taken"} or {"full"}.

local known = redis.call('HGET', key('sources'), ARGV[1])
if known and string.match(known, '^[^\n]*') ~= ARGV[2] then
  return {'taken'}
end
if not known and redis.call('HLEN', key('sources')) >= tonumber(ARGV[4]) then
  return {'full'}
end
if ARGV[3] ~= '' then
  redis.call('HSET', key('sources'), ARGV[1], ARGV[2] .. '\n' .. ARGV[3])
end
return {'ok', redis.call('HGET', key('marks'), ARGV[1]) or ''}
