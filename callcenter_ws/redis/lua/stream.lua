-- Appends an event to a tenant's stream: its position, its call or chat, the state, its user's mailbox.
-- The rules are those of broker/calls.py, broker/chats.py, broker/state.py, broker/chat_messages.py and
-- broker/mailboxes.py.

local WINDOW = 300
local DAY = 86400
local WEEK = 7 * DAY
local IDS_LIFETIME = 4 * WINDOW
local MAX_IDS = 3000000
local MAX_CLIENT_IDS = 200000
local MAX_CALLS = 50000
local MAX_CHATS = 50000
local MAX_CHAT_BYTES = 65536
local MAX_MESSAGE_BYTES = 8388608
local MAX_LASTING = 50000
local MAX_SLOTS = 50000
local MAX_SLOT_BYTES = 33554432
local MAX_EXPIRED_PER_CALL = 500
local MAX_AGENTS = 100
local MAX_MAILBOX_ITEMS = 1000
local MAX_ANNOUNCED_BYTES = 65536

-- All events of one call were received at about the same time: expired entries are deleted once per call.
local calls_are_expired, chats_are_expired, entities_are_expired = false, false, false

-- By how many bytes this call makes the state larger, and the last messages of chats.
local slot_bytes, message_bytes = 0, 0

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

-- Delete the ids of spans in which none is searched for any more. Freeing millions of them takes about a second: UNLINK
-- does it in another thread, while an expiry, or a RENAME to their key, would keep Redis from answering.
local function unlink_old_ids(kept, span)
  for _, old in ipairs(redis.call('SMEMBERS', key(kept.spans))) do
    local name = key(kept.name .. old)
    -- A node whose clock is far ahead must not delete what others have stored a moment ago.
    if tonumber(old) < span - 2 and redis.call('TTL', name) < IDS_LIFETIME - WINDOW then
      redis.call('UNLINK', name)
      redis.call('SREM', key(kept.spans), old)
    end
  end
end

-- Store pairs of an id and its "seq received_at"; all were received in the same span of time.
local function store_ids(kind, id_pairs, received_at)
  local kept, span = ID_KINDS[kind], math.floor(received_at / WINDOW)
  local name, spans = key(kept.name .. span), key(kept.spans)
  redis.call('HSET', name, unpack(id_pairs))
  -- Later than they are deleted while events arrive.
  redis.call('EXPIRE', name, IDS_LIFETIME)
  if redis.call('SADD', spans, span) == 1 then
    unlink_old_ids(kept, span)
  end
  redis.call('EXPIRE', spans, DAY)
  if redis.call('HLEN', name) > kept.most then
    -- Replace the ids of the span before, where they are still found.
    local before = key(kept.name .. (span - 1))
    redis.call('UNLINK', before)
    redis.call('RENAME', name, before)
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
  elseif kind == 'call.disposition' then
    return known
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
  local is_known = call and call.t >= received_at - DAY
  if not is_known then
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
  -- A disposition may come after the end of its call, which must not be remembered once more.
  if kind == 'call.disposition' and not is_known then
    return queue, agents
  end
  -- queue.left may arrive after the queue.joined of the next queue.
  local keeps_queue = call.q and (kind == 'queue.left' or kind == 'call.disposition')
  local next_call = {q = keeps_queue and call.q or queue, a = agents_after(kind, call.a, named), t = received_at}
  if not next_call.q and #next_call.a == 0 then
    delete_call(facts.call)
    return queue, agents
  end
  redis.call('HSET', key('calls'), facts.call, cmsgpack.pack(next_call))
  redis.call('ZADD', key('callorder'), seq, facts.call)
  return queue, agents
end

-- Chats. A record has the queue ("q"), the agent ("a"), whether the session is open ("o"), and when it had its last
-- event ("t").

local UNASSIGNED = ''

local function delete_chat(id)
  redis.call('HDEL', key('chats'), id)
  redis.call('ZREM', key('chatorder'), id)
end

local function expire_chats(limit)
  for _ = 1, MAX_EXPIRED_PER_CALL do
    local oldest = redis.call('ZRANGE', key('chatorder'), 0, 0)[1]
    local chat = oldest and redis.call('HGET', key('chats'), oldest)
    if not oldest or (chat and cmsgpack.unpack(chat).t >= limit) then
      return
    end
    delete_chat(oldest)
  end
end

local function load_chat(received_at, facts)
  local limit = received_at - DAY
  if not chats_are_expired then
    expire_chats(limit)
    chats_are_expired = true
  end
  local packed = redis.call('HGET', key('chats'), facts.chat)
  local chat = packed and cmsgpack.unpack(packed)
  if chat then
    return chat.t >= limit and chat or nil
  end
  -- A session that was opened before there were records counts as unassigned.
  local entity = redis.call('HGET', key('entities'), facts.session)
  return entity and cmsgpack.unpack(entity).at >= limit and {q = false, a = false, o = true} or nil
end

-- Return the error code with which a client's event is refused, or nil.
local function chat_refusal(received_at, facts)
  local chat, writer = load_chat(received_at, facts), facts.writer
  if facts.kind == 'chat.session.started' then
    return chat and 'unknown_session' or nil
  end
  if not (writer.any_session or (chat and chat.o)) then
    return 'unknown_session'
  end
  if not chat or not writer.agent or writer.agent == chat.a then
    return nil
  end
  if not chat.a and (not writer.queues or not chat.q or writer.queues[chat.q]) then
    return nil
  end
  return 'forbidden'
end

-- Return the last of each of the equal items of a list, in their order.
local function last_of_each(list)
  local found = {}
  for at = #list, 1, -1 do
    if not contains(found, list[at]) then
      table.insert(found, 1, list[at])
    end
  end
  return found
end

-- Return the record of a chat after an event that assigns it, and the queue and the agents of the event.
local function assign_chat(chat, facts)
  local named, is_start = facts.agents or {}, facts.kind == 'chat.session.started'
  local agent, queue, concerned = named[#named] or false, facts.queue or false, {}
  if chat and chat.o then
    table.insert(concerned, chat.a or UNASSIGNED)
  elseif not is_start then
    table.insert(concerned, UNASSIGNED)
  end
  if chat and not is_start then
    queue = queue or chat.q
  end
  for _, one in ipairs(named) do
    table.insert(concerned, one)
  end
  table.insert(concerned, agent or UNASSIGNED)
  local agents = last_of_each(concerned)
  if #agents == 1 and agents[1] == UNASSIGNED then
    agents = {}
  end
  return {q = queue, a = agent, o = true}, queue, agents
end

-- Update the event's chat. Return the queue (or false) and the agents of the event.
local function complete_chat(seq, received_at, facts)
  local chat, kind, queue, agents = load_chat(received_at, facts), facts.kind, facts.queue or false, nil
  if kind == 'chat.session.started' or kind == 'chat.transferred' then
    chat, queue, agents = assign_chat(chat, facts)
  else
    if not chat then
      if kind ~= 'chat.session.ended' then
        return queue, {}
      end
      chat = {q = queue, a = false, o = true}
    end
    queue = queue or chat.q
    agents = chat.a and {chat.a} or {}
    chat.o = chat.o and kind ~= 'chat.session.ended'
  end
  chat.t = received_at
  redis.call('HSET', key('chats'), facts.chat, cmsgpack.pack(chat))
  redis.call('ZADD', key('chatorder'), seq, facts.chat)
  return queue, agents
end

-- The last messages of open chats. "m" of an entity lists the position and the size of each message, "mb" is the sum of
-- the sizes. Their lines are in "messages" by position, and "messageorder" has the entity of each.

local function delete_oldest_message(name, entity)
  local seq, size = table.remove(entity.m, 1), table.remove(entity.m, 1)
  entity.mb = entity.mb - size
  message_bytes = message_bytes - size
  redis.call('HDEL', key('messages'), seq)
  redis.call('ZREM', key('messageorder'), seq .. ' ' .. name)
end

-- Add a message; return whether it is within the limits of its chat.
local function add_message(seq, facts, entity, line)
  entity.m, entity.mb = entity.m or {}, (entity.mb or 0) + facts.size
  table.insert(entity.m, seq)
  table.insert(entity.m, facts.size)
  message_bytes = message_bytes + facts.size
  redis.call('HSET', key('messages'), seq, line)
  redis.call('ZADD', key('messageorder'), seq, seq .. ' ' .. facts.entity)
  while #entity.m > 2 * facts.appends or entity.mb > MAX_CHAT_BYTES do
    delete_oldest_message(facts.entity, entity)
  end
  return #entity.m > 0
end

-- Delete a message whose chat does not list it; return the bytes of its line. A node of an earlier release, which knows
-- no messages, ended the chat.
local function delete_orphan(oldest, seq)
  local bytes = redis.call('HSTRLEN', key('messages'), seq)
  redis.call('HDEL', key('messages'), seq)
  redis.call('ZREM', key('messageorder'), oldest)
  return bytes
end

local function enforce_message_limit()
  if message_bytes == 0 then
    return
  end
  local before = message_bytes
  local is_empty = redis.call('EXISTS', key('messages')) == 0
  local size = is_empty and 0 or tonumber(redis.call('HGET', KEYS[1], 'messagebytes') or 0) + before
  while size > MAX_MESSAGE_BYTES do
    local oldest = redis.call('ZRANGE', key('messageorder'), 0, 0)[1]
    if not oldest then
      break
    end
    local seq, name = string.match(oldest, '^(%d+) (.*)$')
    local packed = redis.call('HGET', key('entities'), name)
    local entity = packed and cmsgpack.unpack(packed)
    if entity and entity.m and entity.m[1] == tonumber(seq) then
      before = message_bytes
      delete_oldest_message(name, entity)
      redis.call('HSET', key('entities'), name, cmsgpack.pack(entity))
      size = size + message_bytes - before
    else
      size = math.max(size - delete_orphan(oldest, seq), 0)
    end
  end
  redis.call('HSET', KEYS[1], 'messagebytes', size)
end

-- Lasting entities, which do not expire: "lasting" has the position of each, "lastinglines" the lines by position.

local function is_in_state(entity)
  return redis.call('ZSCORE', key('lasting'), entity)
end

local function apply_to_lasting(seq, facts, line)
  local before = redis.call('ZSCORE', key('lasting'), facts.entity)
  if before then
    redis.call('HDEL', key('lastinglines'), before)
  end
  if not facts.keeps then
    redis.call('ZREM', key('lasting'), facts.entity)
    return
  end
  redis.call('ZADD', key('lasting'), seq, facts.entity)
  redis.call('HSET', key('lastinglines'), seq, line)
  if redis.call('ZCARD', key('lasting')) > MAX_LASTING then
    redis.call('HDEL', key('lastinglines'), redis.call('ZPOPMIN', key('lasting'))[2])
  end
end

-- State

local function sources(entity)
  -- The line of a message ("bm": the last event is one) is not in "slots".
  local seqs = entity.bm and {} or {[tostring(entity.by)] = true}
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
    local entity = cmsgpack.unpack(packed)
    for seq in pairs(sources(entity)) do
      delete_slot(seq)
    end
    while entity.m and #entity.m > 0 do
      delete_oldest_message(name, entity)
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
  local entity = packed and cmsgpack.unpack(packed)
  if packed and entity.at < received_at - DAY then
    delete_entity(facts.entity)
    packed = nil
  end
  if not packed then
    -- "o": the source whose event created it.
    entity = {p = {}, o = facts.from or (facts.source and facts.source.name)}
  end
  local before = packed and sources(entity) or {}
  local is_message = false
  if facts.appends then
    if not packed then
      return
    end
    is_message = add_message(seq, facts, entity, line)
  elseif facts.keeps then
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
  entity.at, entity.by, entity.bm = received_at, seq, is_message or nil
  redis.call('HSET', key('entities'), facts.entity, cmsgpack.pack(entity))
  redis.call('ZADD', key('order'), seq, facts.entity)
  if not is_message then
    redis.call('HSET', key('slots'), seq, line)
    slot_bytes = slot_bytes + #line
  end
  local after = sources(entity)
  for old in pairs(before) do
    if not after[old] then
      delete_slot(old)
    end
  end
end

-- Delete the oldest calls, chats and entities beyond the limits.
local function enforce_limits()
  while redis.call('ZCARD', key('chatorder')) > MAX_CHATS do
    delete_chat(redis.call('ZRANGE', key('chatorder'), 0, 0)[1])
  end
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

-- The items that this call has removed undelivered, because their mailbox was full.
local displaced = 0

local function add_to_mailbox(seq, id, at, facts, line)
  local user = facts.user
  local order, ends, items = key('mail:' .. user), key('mailends:' .. user), key('letters:' .. user)
  if redis.call('ZSCORE', order, id) then
    -- The id was published once more after the window for duplicates. An id has no control character, so this is none.
    id = '\0' .. seq .. ' ' .. id
    redis.call('SET', key('mailagain:' .. user), 1, 'EX', 2 * WEEK)
  end
  redis.call('ZADD', order, seq, id)
  redis.call('ZADD', ends, facts.ends, id)
  redis.call('HSET', items, id, at .. ' ' .. line)
  redis.call('SADD', key('mailusers'), user)
  redis.call('EXPIRE', key('mailusers'), 2 * WEEK)
  if redis.call('ZCARD', order) > MAX_MAILBOX_ITEMS then
    local oldest = redis.call('ZPOPMIN', order)
    displaced = displaced + 1
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

-- Append one event after seq - 1. Return its line, the queue and agents of its call or chat as JSON (nil: none), and the
-- sum of bytes.
local function append(seq, id, at, rest, facts, log_bytes)
  local call_fields, call = 'null,null', nil
  if facts and facts.call then
    local queue, agents = complete_call(seq, tonumber(at), facts)
    call = (queue and cjson.encode(queue) or 'null') .. ',' .. encode_list(agents)
    call_fields = call
  elseif facts and facts.chat then
    local queue, agents = complete_chat(seq, tonumber(at), facts)
    call = (queue and cjson.encode(queue) or 'null') .. ',' .. encode_list(agents)
    call_fields = call
  end
  local line = '[' .. seq .. ',' .. call_fields .. ',' .. rest
  log_bytes = log_bytes + #line
  redis.call('XADD', key('log'), seq .. '-0', 'i', id, 'r', at, 'e', line, 'b', log_bytes)
  if facts and facts.lasting then
    apply_to_lasting(seq, facts, line)
  elseif facts and facts.entity then
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

-- Trim a log of which the statistics need what follows "hold"; false if that is more than they may hold.
local function trim_held(events, limit)
  local meta = redis.call('HMGET', KEYS[1], 'head', 'logbytes', 'holdevents', 'holdbytes')
  local held, head = tonumber(hold), tonumber(meta[1])
  local oldest = redis.call('XRANGE', key('log'), (held + 1) .. '-0', '+', 'COUNT', 1)[1]
  if head - held > tonumber(meta[3])
    or oldest and tonumber(meta[2]) - tonumber(oldest[2][8] or 0) > tonumber(meta[4]) then
    return false
  end
  local upto = math.min(head - events, held)
  for _, entry in ipairs(redis.call('XRANGE', key('log'), '-', held .. '-0', 'COUNT', 400)) do
    if tonumber(entry[2][4]) >= limit then
      break
    end
    upto = math.max(upto, tonumber(string.match(entry[1], '^%d+')))
  end
  if upto > 0 then
    redis.call('XTRIM', key('log'), 'MINID', (upto + 1) .. '-0')
  end
  return true
end

-- Trim the log to its maximum number of events, to those received since the limit, and to those whose sum of bytes is
-- above the other limit. The log may stay a little longer.
local function trim_log(events, limit, bytes_limit)
  if hold and trim_held(events, limit) then
    return
  end
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

-- Have Redis remove the log of a tenant without events: later if the statistics need it, and may be read again first.
local function expire_log(seconds)
  local lifetime = math.ceil(seconds) + 3600
  redis.call('EXPIRE', key('log'), hold and math.max(lifetime, HELD_LIFETIME) or lifetime)
end

-- Announce events to the nodes that follow the tenant; with the events themselves unless they are too large.
local function announce(epoch, first, last, lines)
  local text = table.concat(lines, '\n')
  if #text > MAX_ANNOUNCED_BYTES then
    text = ''
  end
  redis.call('SPUBLISH', ARGV[7], epoch .. '\n' .. first .. '\n' .. last .. '\n' .. text)
end

-- Complete the append of events after first - 1, which were received at about the same time. ARGV: see publish.lua.
local function finish(epoch, first, head, lines, log_bytes, received_at)
  redis.call('HSET', KEYS[1], 'head', head, 'logbytes', log_bytes)
  enforce_limits()
  enforce_message_limit()
  trim_log(tonumber(ARGV[8]), received_at - tonumber(ARGV[9]), log_bytes - tonumber(ARGV[10]))
  expire_log(tonumber(ARGV[9]))
  for _, name in ipairs({'slots', 'entities', 'order', 'calls', 'callorder', 'chats', 'chatorder', 'messages',
    'messageorder'}) do
    redis.call('EXPIRE', key(name), 2 * DAY)
  end
  announce(epoch, first, head, lines)
end
