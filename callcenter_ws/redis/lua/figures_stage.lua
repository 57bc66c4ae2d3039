-- Keep rows of a write that takes several calls. Returns 1; 0 if the process does not hold the tenant, or another write
-- has begun; -1 if the rows of a committed write have to be moved first.
--
-- ARGV: 1 the process, 2 the fence, 3 the id of the write, 4 how many rows of it are kept already; then each row.

local stage, kept = redis.call('HGET', key('figures'), '!stage'), redis.call('LLEN', key('figurestage'))
if not is_holder(ARGV[1], ARGV[2]) then
  return 0
elseif is_committed(stage) then
  return -1
elseif ARGV[4] ~= '0' and (stage ~= ARGV[3] or kept ~= 3 * tonumber(ARGV[4])) then
  return 0
end
-- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
redis.call('HSET', key('figures'), '!stage', ARGV[3])
if ARGV[4] == '0' then
  redis.call('UNLINK', key('figurestage'))
end
redis.call('RPUSH', key('figurestage'), unpack(ARGV, 5))
redis.call('EXPIRE', key('figurestage'), 3600)
return 1
