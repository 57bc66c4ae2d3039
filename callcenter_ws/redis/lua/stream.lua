-- Appends an event to a tenant's stream: its position, its call, the state, its user's mailbox.
-- The rules are those of broker/calls.py, broker/state.py and broker/mailboxes.py.

local WINDOW = 300
local DAY = 86400
local WEEK = 7 * DAY
local MAX_IDS = 3000000
local MAX_CLIENT_IDS = 200000
local MAX_CALLS = 50000
local MAX_SLOTS = 50000
local MAX_SLOT_BYTES = 33554432
local MAX_EXPIRED_PER_CALL = 500
local MAX_AGENTS = 100
local MAX_MAILBOX_ITEMS = 1000
local MAX_ANNOUNCED_BYTES = 65536

-- All events of one call were received at about the same time: expired entries are deleted once per call.
local calls_are_expired, entities_are_expired = false, false

-- By how many bytes this call makes the state larger.
local slot_bytes = 0

-- Duplicates. The ids of recent events are in hashes, one for each span of time as long as the window: "ids:SPAN" those
-- of daemons ("p"), "clientids:SPAN" those of clients ("c"). An id that the gateway made ("-") is in none.

local ID_KINDS = {p = {name = 'ids:', spans = 'spans', most = MAX_IDS},
  c = {name = 'clientids:', spans = 'clientspans', most = MAX_CLIENT_IDS}}

-- Return {[kind and id] = {seq, received_at}} for those of these events that were published before. received_at is of
-- any of them; kinds has a letter for each.
local function find_ids(ids, kinds, received_at)
  local span, known, of_kind = math.floor(received_at / WINDOW), {}, {p = {}, c = {}}
  for at, id in ipairs(ids) do
    local list = of_kind[string.sub(kinds, at, at)]
    if list then
      table.insert(list, id)
    end
  end
  for kind, list in pairs(of_kind) do
    -- The next span is searched as well: the clock of the node that received an event may be a little ahead.
    for each = span - 1, #list > 0 and span + 1 or span - 2 do
      for at, found in ipairs(redis.call('HMGET', key(ID_KINDS[kind].name .. each), unpack(list))) do
        if found then
          local seq, time = string.match(found, '^(%S+) (%S+)$')
          known[kind .. list[at]] = {tonumber(seq), tonumber(time)}
        end
      end
    end
  end
  return known
end

-- Store pairs of an id and its "seq received_at"; all were received in the same span of time.
local function store_ids(kind, id_pairs, received_at)
  local kept, span = ID_KINDS[kind], math.floor(received_at / WINDOW)
  local name, spans = key(kept.name .. span), key(kept.spans)
  redis.call('HSET', name, unpack(id_pairs))
  redis.call('EXPIRE', name, 2 * WINDOW)
  if redis.call('SADD', spans, span) == 1 then
    for _, old in ipairs(redis.call('SMEMBERS', spans)) do
      if tonumber(old) < span - 4 then
        redis.call('SREM', spans, old)
      end
    end
  end
  redis.call('EXPIRE', spans, DAY)
  if redis.call('HLEN', name) > kept.most then
    -- Replace the ids of the span before, where they are still found.
    redis.call('RENAME', name, key(kept.name .. (span - 1)))
    redis.call('SADD', spans, span - 1)
    redis.call('HINCRBY', KEYS[1], 'earlyids', kept.most)
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
  while #all > MAX_AGENTS do
    table.remove(all, 1)
  end
  return all
end

local function delete_call(id)
  redis.call('HDEL', key('calls'), id)
  redis.call('ZREM', key('callorder'), id)
end

local function expire_calls(limit)
  for _ = 1, MAX_EXPIRED_PER_CALL do
    local oldest = redis.call('ZRANGE', key('callorder'), 0, 0)[1]
    local call = oldest and redis.call('HGET', key('calls'), oldest)
    if not oldest or (call and cmsgpack.unpack(call).t >= limit) then
      return
    end
    delete_call(oldest)
  end
end

-- Update the event's call. Return the queue (or false) and the agents of the event.
local function complete_call(seq, received_at, facts)
  if not calls_are_expired then
    expire_calls(received_at - DAY)
    calls_are_expired = true
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
    delete_call(facts.call)
    return queue, agents
  end
  -- queue.left may arrive after the queue.joined of the next queue.
  local keeps_queue = call.q and kind == 'queue.left'
  local next_call = {q = keeps_queue and call.q or queue, a = agents_after(kind, call.a, named), t = received_at}
  if not next_call.q and #next_call.a == 0 then
    delete_call(facts.call)
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

local function delete_slot(seq)
  slot_bytes = slot_bytes - redis.call('HSTRLEN', key('slots'), seq)
  redis.call('HDEL', key('slots'), seq)
end

local function delete_entity(name)
  local packed = redis.call('HGET', key('entities'), name)
  if packed then
    for seq in pairs(sources(cmsgpack.unpack(packed))) do
      delete_slot(seq)
    end
  end
  redis.call('HDEL', key('entities'), name)
  redis.call('ZREM', key('order'), name)
end

local function expire_entities(limit)
  for _ = 1, MAX_EXPIRED_PER_CALL do
    local oldest = redis.call('ZRANGE', key('order'), 0, 0)[1]
    local packed = oldest and redis.call('HGET', key('entities'), oldest)
    if not oldest or (packed and cmsgpack.unpack(packed).at >= limit) then
      return
    end
    delete_entity(oldest)
  end
end

local function apply_to_state(seq, received_at, facts, line)
  if not entities_are_expired then
    expire_entities(received_at - DAY)
    entities_are_expired = true
  end
  local packed = redis.call('HGET', key('entities'), facts.entity)
  local entity = packed and cmsgpack.unpack(packed) or {p = {}}
  if packed and entity.at < received_at - DAY then
    delete_entity(facts.entity)
    packed, entity = nil, {p = {}}
  end
  local before = packed and sources(entity) or {}
  if facts.keeps then
    entity.p[facts.keeps .. '|' .. (facts.user or '')] = seq
  else
    for slot in pairs(entity.p) do
      local name, owner = string.match(slot, '^([^|]*)|(.*)$')
      if (facts.drops == '*' or facts.drops == name) and (not facts.user or facts.user == owner) then
        entity.p[slot] = nil
      end
    end
  end
  if next(entity.p) == nil then
    delete_entity(facts.entity)
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
      delete_slot(old)
    end
  end
end

-- Delete the oldest calls and entities beyond the limits.
local function enforce_limits()
  while redis.call('ZCARD', key('callorder')) > MAX_CALLS do
    delete_call(redis.call('ZRANGE', key('callorder'), 0, 0)[1])
  end
  if slot_bytes == 0 then
    return
  end
  local count = redis.call('HLEN', key('slots'))
  local size = count == 0 and 0 or tonumber(redis.call('HGET', KEYS[1], 'slotbytes') or 0) + slot_bytes
  while count > MAX_SLOTS or size > MAX_SLOT_BYTES do
    local oldest = redis.call('ZRANGE', key('order'), 0, 0)[1]
    if not oldest then
      break
    end
    local before = slot_bytes
    delete_entity(oldest)
    count, size = redis.call('HLEN', key('slots')), size + slot_bytes - before
  end
  redis.call('HSET', KEYS[1], 'slotbytes', size)
end

-- Mailboxes

local function add_to_mailbox(seq, id, at, facts, line)
  local user = facts.user
  local order, ends, items = key('mail:' .. user), key('mailends:' .. user), key('letters:' .. user)
  redis.call('ZADD', order, seq, id)
  redis.call('ZADD', ends, facts.ends, id)
  redis.call('HSET', items, id, at .. ' ' .. line)
  redis.call('SADD', key('mailusers'), user)
  redis.call('EXPIRE', key('mailusers'), 2 * WEEK)
  if redis.call('ZCARD', order) > MAX_MAILBOX_ITEMS then
    local oldest = redis.call('ZPOPMIN', order)
    redis.call('ZREM', ends, oldest[1])
    redis.call('HDEL', items, oldest[1])
    redis.call('SREM', key('sent:' .. user), oldest[1])
    record_loss(user, tonumber(oldest[2]))
  end
  for _, name in ipairs({order, ends, items}) do
    redis.call('EXPIRE', name, 2 * WEEK)
  end
end

-- The log

local function encode_list(list)
  return #list == 0 and '[]' or cjson.encode(list)
end

-- The bytes of all lines that were ever appended to the log. With each entry ("b") the sum is stored, its own included,
-- so that the difference between two entries is the size of what lies between them. An earlier version stored none.
local function first_log_bytes()
  return tonumber(redis.call('HGET', KEYS[1], 'logbytes') or 0)
end

-- Append one event after seq - 1. Return its line, the queue and agents of its call as JSON (nil: no call), and the sum
-- of bytes.
local function append(seq, id, at, rest, facts, log_bytes)
  local call_fields, call = 'null,null', nil
  if facts and facts.call then
    local queue, agents = complete_call(seq, tonumber(at), facts)
    call = (queue and cjson.encode(queue) or 'null') .. ',' .. encode_list(agents)
    call_fields = call
  end
  local line = '[' .. seq .. ',' .. call_fields .. ',' .. rest
  log_bytes = log_bytes + #line
  redis.call('XADD', key('log'), seq .. '-0', 'i', id, 'r', at, 'e', line, 'b', log_bytes)
  if facts and facts.entity then
    apply_to_state(seq, tonumber(at), facts, line)
  end
  if facts and facts.ends then
    add_to_mailbox(seq, id, at, facts, line)
  end
  return line, call, log_bytes
end

-- Trim the log up to the last entry whose sum of bytes is at most the limit. A few entries per XRANGE: they are copied.
local function trim_log_bytes(limit)
  local last, after = nil, '-'
  for round = 1, 64 do
    local found = redis.call('XRANGE', key('log'), after, '+', 'COUNT', round == 1 and 1 or 4)
    for _, entry in ipairs(found) do
      if tonumber(entry[2][8] or 0) > limit then
        found = {}
        break
      end
      last = tonumber(string.match(entry[1], '^%d+'))
    end
    if #found == 0 then
      break
    end
    after = '(' .. last .. '-0'
  end
  if last then
    redis.call('XTRIM', key('log'), 'MINID', (last + 1) .. '-0')
  end
end

-- Trim the log to its maximum number of events, to those received since the limit, and to those whose sum of bytes is
-- above the other limit. The log may stay a little longer.
local function trim_log(events, limit, bytes_limit)
  redis.call('XTRIM', key('log'), 'MAXLEN', '~', events)
  if bytes_limit > 0 then
    trim_log_bytes(bytes_limit)
  end
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

-- Announce events to the nodes that follow the tenant; with the events themselves unless they are too large.
local function announce(epoch, first, last, lines)
  local text = table.concat(lines, '\n')
  if #text > MAX_ANNOUNCED_BYTES then
    text = ''
  end
  redis.call('SPUBLISH', ARGV[7], epoch .. '\n' .. first .. '\n' .. last .. '\n' .. text)
end
