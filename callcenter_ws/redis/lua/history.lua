-- Which history the tenant's stream is (its epoch), and whether that goes on.
--
-- KEYS[1] is the tenant's "meta".
-- ARGV: 1 a fresh epoch, used if one has to begin; 2 the run of this Redis; 3 "1" if it has all that it had before;
-- 4 to 6 the last event of the tenant that the node knows: epoch, seq, id; 7 the tenant's channel.

local MOST_FORKS = 8

-- Whether an event that a node was told of is not here, or another one in its place.
local function is_lost(head, seq, id)
  if seq > head then
    return true
  end
  if seq == 0 or id == '' then
    return false
  end
  local here = redis.call('XRANGE', key('log'), seq .. '-0', seq .. '-0')[1]
  return here ~= nil and here[2][2] ~= id
end

local function begin_epoch(epoch, run, head, forks)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'head', head, 'begun', head, 'run', run, 'forks', cjson.encode(forks))
  redis.call('SPUBLISH', ARGV[7], epoch .. '\n0\n0\n')
  return epoch, head, forks
end

-- Nothing is left of what came before, or should be: its positions are given anew.
local function begin_from_nothing()
  for _, name in ipairs({'log', 'slots', 'entities', 'order', 'calls', 'callorder', 'losses'}) do
    redis.call('UNLINK', key(name))
  end
  for _, span in ipairs(redis.call('SMEMBERS', key('spans'))) do
    redis.call('UNLINK', key('ids:' .. span))
  end
  for _, user in ipairs(redis.call('SMEMBERS', key('mailusers'))) do
    redis.call('UNLINK', key('mail:' .. user), key('mailends:' .. user), key('letters:' .. user), key('sent:' .. user))
  end
  redis.call('UNLINK', key('spans'), key('mailusers'))
  return begin_epoch(ARGV[1], ARGV[2], 0, {})
end

-- Return the run of this Redis, and whether it has all that it had before. A node that has been connected for long may
-- not have noticed that Redis goes by another name by now.
local function current_run()
  local facts = redis.pcall('INFO', 'replication')
  local run = type(facts) == 'string' and string.match(facts, 'master_replid:(%x+)') or ARGV[2]
  return run, run == ARGV[2] and ARGV[3] == '1'
end

-- Return the epoch, the head, and which earlier epochs' positions are good up to where: {{epoch, seq}, ...}.
local function history()
  local known_epoch, known_seq, known_id = ARGV[4], tonumber(ARGV[5]), ARGV[6]
  local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'run', 'forks')
  local epoch, head = meta[1], tonumber(meta[2] or 0)
  if not epoch then
    return begin_from_nothing()
  end
  local forks = cjson.decode(meta[4] or '{}')
  local run, vouched = meta[3], true
  if run ~= ARGV[2] then
    run, vouched = current_run()
  end
  local is_new = run ~= meta[3]
  if known_epoch == epoch and is_lost(head, known_seq, known_id) then
    if not is_new or known_seq <= head then
      -- Nobody can say up to where what was told before is still true.
      return begin_epoch(ARGV[1], run, head, {})
    end
    vouched = false
  end
  if is_new and vouched then
    redis.call('HSET', KEYS[1], 'run', run)
  elseif is_new then
    -- What is here was here before. What came behind it, if anything did, is lost.
    table.insert(forks, {epoch, head})
    if #forks > MOST_FORKS then
      table.remove(forks, 1)
    end
    return begin_epoch(ARGV[1], run, head, forks)
  end
  return epoch, head, forks
end
