-- Release the name of a source in a tenant. Its mark stays. KEYS: the tenant's meta. ARGV: 1 the name, 2 its scope (JSON).

local known = redis.call('HGET', key('sources'), ARGV[1])
if known and string.match(known, '^[^\n]*') == ARGV[2] then
  redis.call('HDEL', key('sources'), ARGV[1])
  return 1
end
return 0
