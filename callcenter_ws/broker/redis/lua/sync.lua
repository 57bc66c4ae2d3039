-- Say where the tenant's stream stands, having looked whether it is the one that the node knows.
--
-- ARGV, beyond those of history.lua: 8 an epoch. Returns JSON: [epoch, head, up to where positions of that epoch are
-- good although it has ended, or -1].

local epoch, head, forks = history()
local good = -1
for _, fork in ipairs(forks) do
  if fork[1] == ARGV[8] then
    good = fork[2]
  end
end
return cjson.encode({epoch, head, good})
