-- Take a write of the process that folds the tenant. Returns 1; 0 if it does not hold the tenant or the position moved;
-- -1 if the rows of a committed write have to be moved first.
--
-- ARGV, after those of epoch.lua: 8 the process, 9 the fence, 10 the position before ("epoch seq", or ""), 11 the epoch,
-- 12 the seq, 13 the hold, 14 and 15 events and bytes of a log that is held, 16 the id of a write whose rows are kept,
-- or "", 17 how many rows these are or follow here; then each row that follows: its day, its field, "=" and its value
-- or "".

local epoch, head = history()
local known = redis.call('HMGET', key('figures'), '!', '!stage')
if not is_holder(ARGV[8], ARGV[9]) or (known[1] or '') ~= ARGV[10] or epoch ~= ARGV[11] or tonumber(ARGV[12]) > head then
  return 0
elseif is_committed(known[2]) then
  return -1
end
local is_staged = ARGV[16] ~= ''
if is_staged and (known[2] ~= ARGV[16] or redis.call('LLEN', key('figurestage')) ~= 3 * tonumber(ARGV[17])) then
  return 0
end
-- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
redis.call('HSET', key('figures'), '!', ARGV[11] .. ' ' .. ARGV[12])
redis.call('HINCRBY', key('figures'), '!version', 1)
redis.call('HSET', KEYS[1], 'hold', ARGV[13], 'holdevents', ARGV[14], 'holdbytes', ARGV[15])
if tonumber(ARGV[13]) < head then
  redis.call('EXPIRE', key('log'), HELD_LIFETIME, 'GT')
end
if is_staged then
  redis.call('PERSIST', key('figurestage'))
  redis.call('HSET', key('figures'), '!stage', ARGV[16] .. ' committed')
else
  store_rows(ARGV, 18, tonumber(ARGV[17]))
end
return 1
