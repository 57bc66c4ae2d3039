-- Say where the tenant's stream stands, having looked whether it is the one that the node knows.
--
-- ARGV, beyond those of history.lua: 8 an epoch. Returns JSON: [epoch, head, behind which position it began, up to where
-- positions of the other epoch are good although it has ended, or -1].

local epoch, head, forks = history()
local good = -1
for _, fork in ipairs(forks) do
  if fork[1] == ARGV[8] then
    good = fork[2]
  end
end
return cjson.encode({epoch, head, tonumber(redis.call('HGET', KEYS[1], 'begun') or head), good})
