-- Append the events of one part of a reconciliation, all or none (see events/reconciliation.py).
--
-- ARGV, after those of epoch.lua: 8 to 10 see publish.lua; 11 JSON: {"rule" (see source_marks.lua), "at" (Unix time),
-- "last" (whether the mark is raised), "guards" ({{entity, count of slots, highest position}, ...})}, then for each
-- event the four arguments of publish.lua. Returns JSON: [epoch, verdict ("new", "known", "early", "stale", "changed"),
-- head, [[queue, agents] of each event, or null]]. The events are those of a source, so none has a condition.

local FIRST = 12
local part = cjson.decode(ARGV[11])

-- Everything that may fail comes before the first event: Redis does not roll scripts back.
local facts = {}
for at = FIRST, #ARGV, 4 do
  local fact = cjson.decode(ARGV[at + 3])
  assert(not fact.condition, 'an event of a reconciliation has a condition')
  table.insert(facts, fact)
end

local function is_unchanged(name, count, highest)
  local packed = redis.call('HGET', key('entities'), name)
  local entity = packed and cmsgpack.unpack(packed)
  local found, last = 0, 0
  if entity and entity.at >= part.at - DAY then
    for _, seq in pairs(entity.p) do
      found, last = found + 1, math.max(last, tonumber(seq))
    end
  end
  return found == count and last == highest
end

local function judge_part()
  local mark = load_mark(part.rule.name)
  if part.rule.gen < mark.gen then
    return 'stale'
  elseif not is_below(mark, part.rule.gen, part.rule.seq) then
    return 'known'
  elseif part.rule.after > 0 and is_below(mark, part.rule.gen, part.rule.after) then
    return 'early'
  end
  for _, guard in ipairs(part.guards) do
    if not is_unchanged(guard[1], guard[2], guard[3]) then
      return 'changed'
    end
  end
  return 'new'
end

local epoch, head = history()
local verdict, first, lines, calls, log_bytes = judge_part(), head + 1, {}, {}, first_log_bytes()
if verdict == 'new' then
  if #facts > 0 then
    -- A Redis that is out of memory refuses this; it refuses no removal, and nothing that follows one.
    redis.call('HSET', KEYS[1], 'head', head)
  end
  if part.last then
    local mark = load_mark(part.rule.name)
    mark.gen, mark.seq = part.rule.gen, part.rule.seq
    raised[part.rule.name] = mark
    store_marks()
  end
  for index, fact in ipairs(facts) do
    local at, line, call = FIRST + 4 * (index - 1), nil, nil
    head = head + 1
    line, call, log_bytes = append(head, ARGV[at], ARGV[at + 1], ARGV[at + 2], fact, log_bytes)
    table.insert(lines, line)
    table.insert(calls, call and '[' .. call .. ']' or 'null')
  end
  if #lines > 0 then
    finish(epoch, first, head, lines, log_bytes, part.at)
  end
end
return string.format('["%s","%s",%d,[%s]]', epoch, verdict, head, table.concat(calls, ','))
