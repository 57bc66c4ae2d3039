-- Return the position of the tenant's stream, after checking that its history is the one that the node knows.
--
-- ARGV, after those of epoch.lua: 8 an epoch. Returns JSON: [epoch, head, the position after which the epoch begins,
-- the last position of the given epoch that is still valid although that epoch has ended, or -1].

local epoch, head, forks = history()
local valid_up_to = -1
for _, fork in ipairs(forks) do
  if fork[1] == ARGV[8] then
    valid_up_to = fork[2]
  end
end
return cjson.encode({epoch, head, tonumber(redis.call('HGET', KEYS[1], 'begun') or head), valid_up_to})
