-- The claim of the process that folds the tenant, and what all scripts about its rows use.
--
-- The hash "figures" has the rows without a day, and besides "!" the position that the rows belong to, "!version" a
-- number that changes with every change of rows, and "!stage" a write that takes several calls: its id, followed by
-- " committed" from its last call on. Its rows are in the list "figurestage": day, field, and "=" with the value or "".
-- A write is taken as a whole when it is committed; its rows are moved afterwards, before anything else reads or writes.

local LIFETIME = 3650

-- Whether a claim is that of this process and this fence, and has not expired.
local function is_holder(process, fence)
  local lease = redis.call('HMGET', key('figurelease'), 'holder', 'fence', 'until')
  local time = redis.call('TIME')
  return lease[1] == process and lease[2] == fence
    and tonumber(lease[3]) > tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function is_committed(stage)
  return stage and string.sub(stage, -10) == ' committed'
end

-- Store rows, three texts of a list for each. Days that nothing removes expire.
local function store_rows(list, from, count)
  local days = {}
  for at = from, from + 3 * count - 1, 3 do
    local day, field, value = list[at], list[at + 1], list[at + 2]
    local name = day == '0' and key('figures') or key('figures:' .. day)
    if value == '' then
      redis.call('HDEL', name, field)
    else
      redis.call('HSET', name, field, string.sub(value, 2))
      days[day] = true
    end
  end
  days['0'] = nil
  for day in pairs(days) do
    redis.call('ZADD', key('figuredays'), day, day)
    redis.call('EXPIREAT', key('figures:' .. day), string.format('%.0f', (tonumber(day) + LIFETIME + 1) * 86400))
  end
end
