-- Return rows and the position that they belong to: {position, {day, {field, value, ...}, ...}}.
--
-- ARGV: 1 and 2 the first and the last day, 3 "1" for the rows without a day.

local found = {}
if ARGV[3] == '1' then
  table.insert(found, '0')
  table.insert(found, redis.call('HGETALL', key('figures')))
end
for _, day in ipairs(redis.call('ZRANGEBYSCORE', key('figuredays'), ARGV[1], ARGV[2])) do
  table.insert(found, day)
  table.insert(found, redis.call('HGETALL', key('figures:' .. day)))
end
return {redis.call('HGET', key('figures'), '!') or '', found}
