-- Which history the tenant's stream belongs to (its epoch), and whether it continues.
--
-- KEYS[1] is the tenant's "meta". ARGV: 1 a new epoch, used if one has to begin; 2 the replication id that the node
-- knows (master_replid); 3 "1" if that dataset holds everything that Redis ever acknowledged; 4 to 6 the last event of
-- the tenant that the node knows: epoch, seq, id; 7 the tenant's channel.

local MAX_FORKS = 8

-- Seconds for which a log that the statistics need stays without a new event or a write of theirs.
local HELD_LIFETIME = 8 * 86400

-- The position above which the statistics need the log, false if they need none of it: read with the rest.
local hold = false

-- Whether an event that a node has seen is missing here, or another event has its position.
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

-- Whether the epoch that a node knows is neither the current one nor one of the forks.
local function is_unknown(known_epoch, epoch, forks)
  if known_epoch == '' or known_epoch == epoch then
    return false
  end
  for _, fork in ipairs(forks) do
    if fork[1] == known_epoch then
      return false
    end
  end
  return true
end

-- "firstrun" is the epoch, and the replication id with which it began; "run" is updated when a later dataset continues
-- the epoch. A "firstrun" of another epoch was left by an earlier version, which does not write it.
local function begin_epoch(epoch, run, head, forks)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'head', head, 'begun', head, 'run', run, 'forks', cjson.encode(forks),
    'firstrun', epoch .. ' ' .. run)
  redis.call('SPUBLISH', ARGV[7], epoch .. '\n0\n0\n')
  return epoch, head, forks
end

local function began_in_another_run(firstrun, epoch, run)
  local of_epoch, first = string.match(firstrun or '', '^(%S+) (%S*)$')
  return of_epoch == epoch and first ~= run
end

-- There is no epoch: delete what is left of earlier ones, because positions are assigned from 1 again.
local function begin_from_nothing()
  for _, name in ipairs({'log', 'slots', 'entities', 'order', 'calls', 'callorder', 'losses', 'chats', 'chatorder',
    'messages', 'messageorder', 'lasting', 'lastinglines', 'figurelive'}) do
    redis.call('UNLINK', key(name))
  end
  for spans, name in pairs({spans = 'ids:', clientspans = 'clientids:'}) do
    for _, span in ipairs(redis.call('SMEMBERS', key(spans))) do
      redis.call('UNLINK', key(name .. span))
    end
  end
  for _, user in ipairs(redis.call('SMEMBERS', key('mailusers'))) do
    redis.call('UNLINK', key('mail:' .. user), key('mailends:' .. user), key('letters:' .. user), key('sent:' .. user),
      key('mailagain:' .. user))
  end
  redis.call('UNLINK', key('spans'), key('clientspans'), key('mailusers'))
  return begin_epoch(ARGV[1], ARGV[2], 0, {})
end

-- Return this Redis's replication id, and whether its dataset is complete. The id that a node knows may be outdated: it
-- changes during a connection when a replica is promoted.
local function current_run()
  local info = redis.pcall('INFO', 'replication')
  local run = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ARGV[2]
  return run, run == ARGV[2] and ARGV[3] == '1'
end

-- Return the epoch, the head, and up to where positions of earlier epochs are valid: {{epoch, seq}, ...}.
local function history()
  local known_epoch, known_seq, known_id = ARGV[4], tonumber(ARGV[5]), ARGV[6]
  local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'run', 'forks', 'firstrun', 'hold')
  hold = meta[6]
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
      -- It cannot be determined up to which position the history that nodes have seen is still valid.
      return begin_epoch(ARGV[1], run, head, {})
    end
    vouched = false
  elseif is_unknown(known_epoch, epoch, forks) then
    if is_new then
      -- Lost: the beginning of the known epoch, and possibly the end of this epoch, which came before it.
      vouched = false
    elseif began_in_another_run(meta[5], epoch, run) then
      -- The same loss, but another node has published since the restart, so that it cannot be determined up to which
      -- position the history is still valid. An epoch that began in this run is newer than the known one, and stays.
      return begin_epoch(ARGV[1], run, head, {})
    end
  end
  if is_new and vouched then
    redis.call('HSET', KEYS[1], 'run', run)
  elseif is_new then
    -- Everything up to the head is a prefix of the old history. What followed it, if anything, is lost.
    table.insert(forks, {epoch, head})
    if #forks > MAX_FORKS then
      table.remove(forks, 1)
    end
    return begin_epoch(ARGV[1], run, head, forks)
  end
  return epoch, head, forks
end
