-- Append a batch of events of one tenant, all received in the same span of time (see stream.lua).
--
-- ARGV, after those of epoch.lua: 8 how many events the log keeps, 9 for how many seconds, then for each event: its
-- id; the Unix time at which it was received; the rest of its line; what else the script needs (JSON, or ""). Returns
-- JSON: [epoch, [seq of each event, negative for a duplicate], [[index, queue, agents], ...]].

local FIRST = 10

-- Everything that may fail comes before the first event: Redis does not roll scripts back.
local ids, facts = {}, {}
for at = FIRST, #ARGV, 4 do
  table.insert(ids, ARGV[at])
  table.insert(facts, ARGV[at + 3] ~= '' and cjson.decode(ARGV[at + 3]) or false)
end
local received_at = tonumber(ARGV[FIRST + 1])
local epoch, head = history()
local known = find_ids(ids, received_at)
local seqs, calls, lines, new_ids = {}, {}, {}, {}
local first = head + 1
for index, id in ipairs(ids) do
  local at = ARGV[FIRST + 4 * index - 3]
  local before = known[id]
  if before and before[2] >= tonumber(at) - WINDOW then
    table.insert(seqs, -before[1])
  else
    head = head + 1
    local line, call = append(head, id, at, ARGV[FIRST + 4 * index - 2], facts[index])
    known[id] = {head, tonumber(at)}
    table.insert(lines, line)
    table.insert(seqs, head)
    table.insert(new_ids, id)
    table.insert(new_ids, head .. ' ' .. at)
    if call then
      table.insert(calls, '[' .. (index - 1) .. ',' .. call .. ']')
    end
  end
end
if #lines > 0 then
  redis.call('HSET', KEYS[1], 'head', head)
  store_ids(new_ids, received_at)
  enforce_limits()
  trim_log(tonumber(ARGV[8]), received_at - tonumber(ARGV[9]))
  redis.call('EXPIRE', key('log'), math.ceil(tonumber(ARGV[9])) + 3600)
  for _, name in ipairs({'slots', 'entities', 'order', 'calls', 'callorder'}) do
    redis.call('EXPIRE', key(name), 2 * DAY)
  end
  announce(epoch, first, head, lines)
end
return '["' .. epoch .. '",[' .. table.concat(seqs, ',') .. '],[' .. table.concat(calls, ',') .. ']]'
