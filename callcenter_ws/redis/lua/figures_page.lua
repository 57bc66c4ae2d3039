-- Return a page of rows: {position, version, day and cursor with which the next page begins, or "" and "", rows as
-- {day, {field, value, ...}, ...}}; the version is -1 if the rows of a committed write have to be moved first.
--
-- ARGV: 1 and 2 the first and the last day, 3 "1" for the rows without a day, 4 and 5 the day ("" at the beginning) and
-- the cursor with which the page begins, 6 and 7 how many rows and bytes end the page, 8 "names" if fields follow, else
-- "kinds" if beginnings of fields follow, or "all".

local MAX_DAYS = 64
local known = redis.call('HMGET', key('figures'), '!', '!version', '!stage')
if not known[1] or is_committed(known[3]) then
  return {known[1] or '', known[1] and -1 or 0, '', '', {}}
end
local most, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
local found, rows, bytes = {}, 0, 0

local function is_wanted(field)
  if ARGV[8] == 'all' then
    return string.sub(field, 1, 1) ~= '!'
  end
  for at = 9, #ARGV do
    if string.sub(field, 1, #ARGV[at]) == ARGV[at] then
      return true
    end
  end
  return false
end

local function add(fields, field, value)
  table.insert(fields, field)
  table.insert(fields, value)
  bytes = bytes + #field + #value
end

-- Add rows of a hash from a cursor on; return the next cursor, "0" at the end.
local function scan(name, cursor, fields)
  repeat
    local page = redis.call('HSCAN', name, cursor, 'COUNT', math.max(math.min(most - rows, 100), math.floor(most / 10)))
    cursor = page[1]
    for at = 1, #page[2], 2 do
      if is_wanted(page[2][at]) then
        add(fields, page[2][at], page[2][at + 1])
      end
    end
    rows = rows + #page[2] / 2
  until cursor == '0' or rows >= most or bytes >= most_bytes
  return cursor
end

local function pick(name, fields)
  for at = 9, #ARGV do
    local value = redis.call('HGET', name, ARGV[at])
    if value then
      add(fields, ARGV[at], value)
    end
  end
  rows = rows + #ARGV - 8
end

local from, days = tonumber(ARGV[4]) or 0, {}
if ARGV[3] == '1' and from == 0 then
  table.insert(days, '0')
end
local first = string.format('%.0f', math.max(tonumber(ARGV[1]), from))
for _, day in ipairs(redis.call('ZRANGEBYSCORE', key('figuredays'), first, ARGV[2], 'LIMIT', 0, MAX_DAYS)) do
  table.insert(days, day)
end
local cursor, next_day = ARGV[5], ''
for index, day in ipairs(days) do
  local name, fields = day == '0' and key('figures') or key('figures:' .. day), {}
  if ARGV[8] == 'names' then
    pick(name, fields)
    cursor = '0'
  else
    cursor = scan(name, cursor, fields)
  end
  table.insert(found, day)
  table.insert(found, fields)
  if cursor ~= '0' then
    next_day = day
    break
  elseif rows >= most or bytes >= most_bytes or index >= MAX_DAYS then
    next_day = day == '0' and '1' or string.format('%.0f', tonumber(day) + 1)
    break
  end
end
return {known[1], tonumber(known[2] or 0), next_day, cursor, found}
