-- Append a batch of events of one tenant, all received in the same span of time (see stream.lua).
--
-- ARGV, beyond those of history.lua: 8 how many events the log keeps, 9 for how many seconds, then for each event its
-- id, the Unix time at which it was taken in, the rest of its line, and what else is to be known of it (JSON, or "").
-- Returns JSON: [epoch, [seq of each event, negative for one that is known], [[place, queue, agents], ...]].

local FIRST = 10

-- Everything that may fail comes before the first event: a script is not rolled back.
local ids, facts = {}, {}
for at = FIRST, #ARGV, 4 do
  table.insert(ids, ARGV[at])
  table.insert(facts, ARGV[at + 3] ~= '' and cjson.decode(ARGV[at + 3]) or false)
end
local received_at = tonumber(ARGV[FIRST + 1])
local epoch, head = history()
local known = recall(ids, received_at)
local seqs, found, lines, remembered = {}, {}, {}, {}
local first = head + 1
for place, id in ipairs(ids) do
  local at = ARGV[FIRST + 4 * place - 3]
  local before = known[id]
  if before and before[2] >= tonumber(at) - WINDOW then
    table.insert(seqs, -before[1])
  else
    head = head + 1
    local line, about = append(head, id, at, ARGV[FIRST + 4 * place - 2], facts[place])
    known[id] = {head, tonumber(at)}
    table.insert(lines, line)
    table.insert(seqs, head)
    table.insert(remembered, id)
    table.insert(remembered, head .. ' ' .. at)
    if about then
      table.insert(found, '[' .. (place - 1) .. ',' .. about .. ']')
    end
  end
end
if #lines > 0 then
  redis.call('HSET', KEYS[1], 'head', head)
  remember(remembered, received_at)
  bound()
  retain(tonumber(ARGV[8]), received_at - tonumber(ARGV[9]))
  redis.call('EXPIRE', key('log'), math.ceil(tonumber(ARGV[9])) + 3600)
  for _, name in ipairs({'slots', 'entities', 'order', 'calls', 'callorder'}) do
    redis.call('EXPIRE', key(name), 2 * DAY)
  end
  announce(epoch, first, head, lines)
end
return '["' .. epoch .. '",[' .. table.concat(seqs, ',') .. '],[' .. table.concat(found, ',') .. ']]'
