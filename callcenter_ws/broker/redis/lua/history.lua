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

local function begin_epoch(epoch, head, forks)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'head', head, 'run', ARGV[2], 'forks', cjson.encode(forks))
  redis.call('SPUBLISH', ARGV[7], epoch .. '\n0\n0\n')
  return epoch, head, forks
end

-- Return the epoch, the head, and which earlier epochs' positions are good up to where: {{epoch, seq}, ...}.
local function history()
  local candidate, run, vouched, known_epoch, known_seq, known_id =
    ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4], tonumber(ARGV[5]), ARGV[6]
  local meta = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'run', 'forks')
  local epoch, head = meta[1], tonumber(meta[2] or 0)
  if not epoch then
    for _, name in ipairs({'log', 'slots', 'entities', 'order', 'calls', 'callorder'}) do
      redis.call('UNLINK', key(name))
    end
    return begin_epoch(candidate, 0, {})
  end
  local forks = cjson.decode(meta[4] or '{}')
  if known_epoch == epoch and is_lost(head, known_seq, known_id) then
    -- Nobody can say up to where what was told before is still true.
    return begin_epoch(candidate, head, {})
  end
  if meta[3] ~= run then
    if vouched then
      redis.call('HSET', KEYS[1], 'run', run)
    else
      -- What is here was here before. What came behind it, if anything did, is lost.
      table.insert(forks, {epoch, head})
      if #forks > MOST_FORKS then
        table.remove(forks, 1)
      end
      return begin_epoch(candidate, head, forks)
    end
  end
  return epoch, head, forks
end
