-- End the sessions of a user, or one session.
--
-- ARGV: 1 the name of the user or "", 2 the public id of a session or "". Returns their records.

local ids, ended = {}, {}
if ARGV[1] ~= '' then
  ids = redis.call('ZRANGE', key('of:person:' .. ARGV[1]), 0, -1)
end
if ARGV[2] ~= '' then
  for _, member in ipairs(redis.call('ZRANGE', key('listed'), '[' .. ARGV[2] .. ':', '(' .. ARGV[2] .. ';', 'BYLEX')) do
    table.insert(ids, string.sub(member, #ARGV[2] + 2))
  end
end
for _, id in ipairs(ids) do
  local record = end_session(id)
  if record then
    table.insert(ended, record)
  end
end
return ended
