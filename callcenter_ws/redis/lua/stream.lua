-- How an event is taken into a tenant's stream: its position, its call, the state, its user's mailbox.
-- The rules are those of broker/calls.py, broker/history.py and broker/mailboxes.py.

local WINDOW = 300
local DAY = 86400
local WEEK = 7 * DAY
local MOST_IDS = 200000
local MOST_CALLS = 50000
local MOST_SLOTS = 50000
local MOST_SLOT_BYTES = 33554432
local FORGOTTEN_AT_ONCE = 500
local MOST_AGENTS = 100
local MOST_LETTERS = 1000
local ANNOUNCED_BYTES = 65536

-- All events of a script were received at about the same moment: what is too old is looked for once.
local calls_are_aged, entities_are_aged = false, false

-- By how many bytes this script makes the state larger.
local slot_bytes = 0

-- What was published lately. Identifiers are in one hash for each span of time as long as the window.

-- Return when and where events with these ids were published: {[id] = {seq, at}}; received_at is of any of them.
local function recall(ids, received_at)
  local span, known = math.floor(received_at / WINDOW), {}
  -- The next one, too: the clock of the node that took it in may be a little ahead.
  for place = span - 1, span + 1 do
    for at, found in ipairs(redis.call('HMGET', key('ids:' .. place), unpack(ids))) do
      if found then
        local seq, moment = string.match(found, '^(%S+) (%S+)$')
        known[ids[at]] = {tonumber(seq), tonumber(moment)}
      end
    end
  end
  return known
end

-- Remember ids by their values; all were received in the same span of time.
local function remember(pairs_of_values, received_at)
  local span = math.floor(received_at / WINDOW)
  local name = key('ids:' .. span)
  redis.call('HSET', name, unpack(pairs_of_values))
  redis.call('EXPIRE', name, 4 * WINDOW)
  if redis.call('SADD', key('spans'), span) == 1 then
    for _, old in ipairs(redis.call('SMEMBERS', key('spans'))) do
      if tonumber(old) < span - 4 then
        redis.call('SREM', key('spans'), old)
      end
    end
  end
  redis.call('EXPIRE', key('spans'), DAY)
  if redis.call('HLEN', name) > MOST_IDS then
    -- In the place of older ones, where they are still found.
    redis.call('RENAME', name, key('ids:' .. (span - 1)))
    redis.call('SADD', key('spans'), span - 1)
  end
end

-- Calls

local function contains(list, item)
  for _, one in ipairs(list) do
    if one == item then
      return true
    end
  end
  return false
end

local function without(list, others)
  local left = {}
  for _, one in ipairs(list) do
    if not contains(others, one) then
      table.insert(left, one)
    end
  end
  return left
end

local function joined(known, named)
  if #named == 0 then
    return known
  end
  local all = without(known, named)
  for _, one in ipairs(named) do
    if not contains(all, one) then
      table.insert(all, one)
    end
  end
  return all
end

local function agents_after(kind, known, named)
  if kind == 'call.answered' then
    return {named[1]}
  elseif kind == 'call.missed' then
    return without(known, named)
  end
  local all = joined(known, named)
  while #all > MOST_AGENTS do
    table.remove(all, 1)
  end
  return all
end

local function forget_call(id)
  redis.call('HDEL', key('calls'), id)
  redis.call('ZREM', key('callorder'), id)
end

local function forget_calls(limit)
  for _ = 1, FORGOTTEN_AT_ONCE do
    local oldest = redis.call('ZRANGE', key('callorder'), 0, 0)[1]
    local call = oldest and redis.call('HGET', key('calls'), oldest)
    if not oldest or (call and cmsgpack.unpack(call).t >= limit) then
      return
    end
    forget_call(oldest)
  end
end

-- Return the queue (or false) and the agents that the event concerns.
local function complete(seq, received_at, facts)
  if not calls_are_aged then
    forget_calls(received_at - DAY)
    calls_are_aged = true
  end
  local packed = redis.call('HGET', key('calls'), facts.call)
  local call = packed and cmsgpack.unpack(packed)
  if not call or call.t < received_at - DAY then
    call = {q = false, a = {}}
  end
  local named, kind = facts.agents or {}, facts.kind
  local queue, agents = facts.queue or call.q, named
  if #named == 0 or (kind ~= 'call.ringing' and kind ~= 'call.missed') then
    agents = joined(call.a, named)
  end
  if kind == 'call.ended' or kind == 'call.abandoned' then
    forget_call(facts.call)
    return queue, agents
  end
  -- That a call left a queue may be told after it joined the next one.
  local stays = call.q and kind == 'queue.left'
  local next_call = {q = stays and call.q or queue, a = agents_after(kind, call.a, named), t = received_at}
  if not next_call.q and #next_call.a == 0 then
    forget_call(facts.call)
    return queue, agents
  end
  redis.call('HSET', key('calls'), facts.call, cmsgpack.pack(next_call))
  redis.call('ZADD', key('callorder'), seq, facts.call)
  return queue, agents
end

-- State

local function sources(entity)
  local seqs = {[tostring(entity.by)] = true}
  for _, seq in pairs(entity.p) do
    seqs[tostring(seq)] = true
  end
  return seqs
end

local function empty_slot(seq)
  slot_bytes = slot_bytes - redis.call('HSTRLEN', key('slots'), seq)
  redis.call('HDEL', key('slots'), seq)
end

local function forget_entity(name)
  local packed = redis.call('HGET', key('entities'), name)
  if packed then
    for seq in pairs(sources(cmsgpack.unpack(packed))) do
      empty_slot(seq)
    end
  end
  redis.call('HDEL', key('entities'), name)
  redis.call('ZREM', key('order'), name)
end

local function forget_entities(limit)
  for _ = 1, FORGOTTEN_AT_ONCE do
    local oldest = redis.call('ZRANGE', key('order'), 0, 0)[1]
    local packed = oldest and redis.call('HGET', key('entities'), oldest)
    if not oldest or (packed and cmsgpack.unpack(packed).at >= limit) then
      return
    end
    forget_entity(oldest)
  end
end

local function apply(seq, received_at, facts, line)
  if not entities_are_aged then
    forget_entities(received_at - DAY)
    entities_are_aged = true
  end
  local packed = redis.call('HGET', key('entities'), facts.entity)
  local entity = packed and cmsgpack.unpack(packed) or {p = {}}
  if packed and entity.at < received_at - DAY then
    forget_entity(facts.entity)
    packed, entity = nil, {p = {}}
  end
  local before = packed and sources(entity) or {}
  if facts.keeps then
    entity.p[facts.keeps .. '|' .. (facts.user or '')] = seq
  else
    for place in pairs(entity.p) do
      local name, owner = string.match(place, '^([^|]*)|(.*)$')
      if (facts.drops == '*' or facts.drops == name) and (not facts.user or facts.user == owner) then
        entity.p[place] = nil
      end
    end
  end
  if next(entity.p) == nil then
    forget_entity(facts.entity)
    return
  end
  entity.at, entity.by = received_at, seq
  redis.call('HSET', key('entities'), facts.entity, cmsgpack.pack(entity))
  redis.call('ZADD', key('order'), seq, facts.entity)
  redis.call('HSET', key('slots'), seq, line)
  slot_bytes = slot_bytes + #line
  local after = sources(entity)
  for old in pairs(before) do
    if not after[old] then
      empty_slot(old)
    end
  end
end

-- Let go what is beyond the bounds, oldest first.
local function bound()
  while redis.call('ZCARD', key('callorder')) > MOST_CALLS do
    forget_call(redis.call('ZRANGE', key('callorder'), 0, 0)[1])
  end
  if slot_bytes == 0 then
    return
  end
  local count = redis.call('HLEN', key('slots'))
  local size = count == 0 and 0 or tonumber(redis.call('HGET', KEYS[1], 'slotbytes') or 0) + slot_bytes
  while count > MOST_SLOTS or size > MOST_SLOT_BYTES do
    local oldest = redis.call('ZRANGE', key('order'), 0, 0)[1]
    if not oldest then
      break
    end
    local before = slot_bytes
    forget_entity(oldest)
    count, size = redis.call('HLEN', key('slots')), size + slot_bytes - before
  end
  redis.call('HSET', KEYS[1], 'slotbytes', size)
end

-- Mailboxes

local function put_letter(seq, id, at, facts, line)
  local user = facts.user
  local order, ends, letters = key('mail:' .. user), key('mailends:' .. user), key('letters:' .. user)
  redis.call('ZADD', order, seq, id)
  redis.call('ZADD', ends, facts.ends, id)
  redis.call('HSET', letters, id, at .. ' ' .. line)
  redis.call('SADD', key('mailusers'), user)
  redis.call('EXPIRE', key('mailusers'), 2 * WEEK)
  if redis.call('ZCARD', order) > MOST_LETTERS then
    local oldest = redis.call('ZPOPMIN', order)
    redis.call('ZREM', ends, oldest[1])
    redis.call('HDEL', letters, oldest[1])
    redis.call('SREM', key('sent:' .. user), oldest[1])
    lose(user, tonumber(oldest[2]))
  end
  for _, name in ipairs({order, ends, letters}) do
    redis.call('EXPIRE', name, 2 * WEEK)
  end
end

-- The log

local function encoded(list)
  return #list == 0 and '[]' or cjson.encode(list)
end

-- Append one event behind seq - 1. Return its line, and what was found out about its call (nil: nothing).
local function append(seq, id, at, rest, facts)
  local about, found = 'null,null', nil
  if facts and facts.call then
    local queue, agents = complete(seq, tonumber(at), facts)
    found = (queue and cjson.encode(queue) or 'null') .. ',' .. encoded(agents)
    about = found
  end
  local line = '[' .. seq .. ',' .. about .. ',' .. rest
  redis.call('XADD', key('log'), seq .. '-0', 'i', id, 'r', at, 'e', line)
  if facts and facts.entity then
    apply(seq, tonumber(at), facts, line)
  end
  if facts and facts.ends then
    put_letter(seq, id, at, facts, line)
  end
  return line, found
end

-- Let go what of the log is beyond its limits; some of it may go later.
local function retain(events, limit)
  redis.call('XTRIM', key('log'), 'MAXLEN', '~', events)
  for _ = 1, 4 do
    local first = redis.call('XRANGE', key('log'), '-', '+', 'COUNT', 1)[1]
    if not first or tonumber(first[2][4]) >= limit then
      return
    end
    for _, entry in ipairs(redis.call('XRANGE', key('log'), '-', '+', 'COUNT', 100)) do
      if tonumber(entry[2][4]) >= limit then
        break
      end
      first = entry
    end
    local seq = tonumber(string.match(first[1], '^%d+'))
    redis.call('XTRIM', key('log'), 'MINID', (seq + 1) .. '-0')
  end
end

-- Tell the nodes that have clients of the tenant; with the events themselves, if they are not too large for that.
local function announce(epoch, first, last, lines)
  local text = table.concat(lines, '\n')
  if #text > ANNOUNCED_BYTES then
    text = ''
  end
  redis.call('SPUBLISH', ARGV[7], epoch .. '\n' .. first .. '\n' .. last .. '\n' .. text)
end
