-- Return the records of the accepted commands of a source, by acceptance.
--
-- ARGV: 1 the scope of the source, 2 its name, 3 a maximum number.

local waiting = key('commandsof:' .. cjson.encode({ARGV[1], ARGV[2]}))
local found, are_lost = {}, false
repeat
  are_lost = false
  for _, field in ipairs(redis.call('ZRANGE', waiting, 0, tonumber(ARGV[3]) - 1)) do
    local record, state = read_command(field)
    if record and state == 'accepted' then
      table.insert(found, record)
    else
      -- As in command_overdue.lua.
      redis.call('ZREM', waiting, field)
      are_lost = true
    end
  end
until #found > 0 or not are_lost
return found
