-- Append a batch of events of one tenant, all received in the same span of time (see stream.lua).
--
-- ARGV, after those of epoch.lua: 8 how many events the log keeps, 9 for how many seconds, 10 how many bytes of lines,
-- 11 a letter for each event, where its id is remembered (see id_kinds in stream.lua), then for each event: its id; the
-- Unix time at which it was received; the rest of its line; what else the script needs (JSON, or ""). Returns JSON:
-- [epoch, [seq of each event, negative for a duplicate, 0 for one whose seq is not known or that is refused, null if an
-- event of its source is missing before it], [[index, queue, agents], ...], [[index, error code], ...]].

local FIRST = 12

-- Why the condition of an event refuses it.
local function condition_refusal(fact, is_appended)
  local fence = fact.condition.fence
  if fence then
    local lease = redis.call('HMGET', key('figurelease'), 'holder', 'fence', 'until')
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
    if not lease[1] or lease[1] == '' or lease[2] ~= fence or tonumber(lease[3]) <= now then
      return 'stale_generation'
    end
  end
  local wanted = fact.condition.entity_seq
  if wanted then
    local newest = redis.call('ZSCORE', key('lasting'), fact.entity) or redis.call('ZSCORE', key('order'), fact.entity)
    if tonumber(newest or 0) ~= wanted then
      return 'unknown_alert'
    end
  end
  if fact.condition.follows == 'missing' or (fact.condition.follows and not is_appended) then
    return 'unknown_command'
  end
  return fact.condition.closes and closing_refusal(fact.condition.closes)
end

-- Everything that may fail comes before the first event: Redis does not roll scripts back.
local ids, facts, kinds = {}, {}, ARGV[11]
for at = FIRST, #ARGV, 4 do
  table.insert(ids, ARGV[at])
  table.insert(facts, ARGV[at + 3] ~= '' and cjson.decode(ARGV[at + 3]) or false)
end
for _, fact in ipairs(facts) do
  if fact and fact.source then
    load_mark(fact.source.name)
  end
end
local received_at = tonumber(ARGV[FIRST + 1])
local epoch, head = history()
local known = find_ids(ids, kinds, received_at)
local seqs, calls, lines, new_ids, refused = {}, {}, {}, {p = {}, c = {}}, {}
local log_bytes = first_log_bytes()
local first = head + 1
-- Whether the event before the present one is appended now.
local is_appended = false
for index, id in ipairs(ids) do
  local at = ARGV[FIRST + 4 * index - 3]
  local kind, fact = string.sub(kinds, index, index), facts[index]
  local before = known[kind .. id]
  local verdict = fact and fact.source and judge(fact.source) or 'new'
  local refusal = fact and fact.condition and condition_refusal(fact, is_appended)
  is_appended = false
  if verdict == 'early' then
    table.insert(seqs, 'null')
  elseif verdict == 'stale' then
    table.insert(seqs, 0)
    table.insert(refused, string.format('[%d,"stale_generation"]', index - 1))
  elseif before and before[2] >= tonumber(at) - WINDOW then
    table.insert(seqs, -before[1])
  elseif verdict == 'known' or (fact and fact.void) then
    table.insert(seqs, 0)
  elseif refusal then
    table.insert(seqs, 0)
    table.insert(refused, string.format('[%d,"%s"]', index - 1, refusal))
  elseif fact and fact.writer and chat_refusal(tonumber(at), fact) then
    table.insert(seqs, 0)
    table.insert(refused, string.format('[%d,"%s"]', index - 1, chat_refusal(tonumber(at), fact)))
  else
    if #lines == 0 then
      -- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
      redis.call('HSET', KEYS[1], 'head', head)
    end
    head = head + 1
    local line, call
    line, call, log_bytes = append(head, id, at, ARGV[FIRST + 4 * index - 2], facts[index], log_bytes)
    table.insert(lines, line)
    table.insert(seqs, head)
    is_appended = true
    if fact and fact.condition and fact.condition.closes then
      close_command(fact.condition.closes)
    end
    local fresh = new_ids[kind]
    if fresh then
      known[kind .. id] = {head, tonumber(at)}
      table.insert(fresh, id)
      table.insert(fresh, head .. ' ' .. at)
    end
    if call then
      table.insert(calls, '[' .. (index - 1) .. ',' .. call .. ']')
    end
  end
end
store_marks()
if #lines > 0 then
  for kind, fresh in pairs(new_ids) do
    if #fresh > 0 then
      store_ids(kind, fresh, received_at)
    end
  end
  finish(epoch, first, head, lines, log_bytes, received_at)
end
return '["' .. epoch .. '",[' .. table.concat(seqs, ',') .. '],[' .. table.concat(calls, ',') .. '],['
  .. table.concat(refused, ',') .. '],' .. displaced .. ']'
