-- Take a write of the process that folds the tenant. Returns 1; 0 if it does not hold the tenant or the position moved.
--
-- ARGV, after those of epoch.lua: 8 the process, 9 the fence, 10 the position before ("epoch seq", or ""), 11 the epoch,
-- 12 the seq, 13 the hold, 14 and 15 events and bytes of a log that is held, 16 to 18 the numbers of rows, of live
-- figures and of announcements; then for each row its day, its field and "=" with its value or ""; for each live figure
-- its key and its message; and the announcements.

local epoch, head = history()
local lease = redis.call('HMGET', key('figurelease'), 'holder', 'fence')
local before = redis.call('HGET', key('figures'), '!') or ''
if lease[1] ~= ARGV[8] or lease[2] ~= ARGV[9] or before ~= ARGV[10] or epoch ~= ARGV[11]
  or tonumber(ARGV[12]) > head then
  return 0
end
-- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
redis.call('HSET', key('figures'), '!', ARGV[11] .. ' ' .. ARGV[12])
redis.call('HSET', KEYS[1], 'hold', ARGV[13], 'holdevents', ARGV[14], 'holdbytes', ARGV[15])
local at = 19
for _ = 1, tonumber(ARGV[16]) do
  local day, field, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local name = day == '0' and key('figures') or key('figures:' .. day)
  if value == '' then
    redis.call('HDEL', name, field)
  else
    redis.call('HSET', name, field, string.sub(value, 2))
    if day ~= '0' then
      redis.call('ZADD', key('figuredays'), day, day)
    end
  end
  at = at + 3
end
for _ = 1, tonumber(ARGV[17]) do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', key('figurelive'), ARGV[at])
  else
    redis.call('HSET', key('figurelive'), ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
for _ = 1, tonumber(ARGV[18]) do
  redis.call('SPUBLISH', ARGV[7], ARGV[at])
  at = at + 1
end
return 1
