-- Register a source that said Hello, with a new connection.
--
-- ARGV: 1 the source, 2 the subject of its owner, 3 the instance, 4 the connection, 5 the generation or "", 6 the
-- highest generation among its marks, 7 the lease in seconds, 8 its tenants (JSON), 9 its facts (JSON), 10 the maximum
-- number of sources, 11 of tenants, 12 the channel, 13 the largest generation.
-- Returns {"ok", generation, number of the lease, claimed, facts from before or "", seconds since it was announced or
-- -1}, or {"owner"}, {"in_use"}, {"stale", generation}, {"full"}, {"tenants"}, {"last"}.

local of = key('of:' .. ARGV[1])
local known = redis.call('HMGET', of, 'subject', 'instance', 'link', 'generation', 'lease', 'claimed', 'facts',
  'announced')
local is_new = not known[1]
if is_new and redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[10]) then
  return {'full'}
elseif not is_new and known[1] ~= ARGV[2] then
  return {'owner'}
elseif not is_new and known[2] ~= '' and known[2] ~= ARGV[3] then
  return {'in_use'}
end
local highest = math.max(tonumber(ARGV[6]), tonumber(known[4] or 0))
local generation = ARGV[5] == '' and highest + 1 or tonumber(ARGV[5])
if generation < highest then
  return {'stale', string.format('%.0f', highest)}
elseif generation > tonumber(ARGV[13]) then
  return {'last'}
end
local claimed, named = cjson.decode(ARGV[8]), {}
for _, tenant in ipairs(claimed) do
  named[tenant] = true
end
for _, tenant in ipairs(cjson.decode(known[6] or '[]')) do
  if not named[tenant] then
    table.insert(claimed, tenant)
  end
end
if #claimed > tonumber(ARGV[11]) then
  return {'tenants'}
end
-- What is said late about a source that had the name before must not count for this one.
local lease = known[5] or string.format('%.0f', tonumber(redis.call('GET', key('released')) or 0) + 1)
local text, number = cjson.encode(claimed), string.format('%.0f', generation)
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('HSET', of, 'subject', ARGV[2], 'instance', ARGV[3], 'link', ARGV[4], 'generation', number, 'lease', lease,
  'claimed', text, 'facts', ARGV[9])
extend_lease(ARGV[1], tonumber(ARGV[7]))
if known[3] and known[3] ~= '' then
  redis.call('SPUBLISH', ARGV[12], known[3])
end
local age = known[8] and math.max(0, redis_time() - tonumber(known[8])) or -1
return {'ok', number, lease, text, known[7] or '', string.format('%.0f', age)}
