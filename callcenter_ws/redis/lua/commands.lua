-- The commands of a tenant. "commands" is the hash of their records as they were accepted (JSON); "commandstates", of
-- what became of them: "accepted", "dispatched", or the outcome (JSON); its field "!" counts. "commandsdue" has those
-- without an outcome by their deadline, "commandsclosed" those with one in the order of their closing, and
-- "commandsof:SOURCE" the accepted ones of a source in the order of their acceptance. A field or member is the user and
-- the id as JSON.

local COMMANDS_LIFETIME = 2 * 86400

local function is_open(state)
  return state == 'accepted' or state == 'dispatched'
end

local function read_command(field)
  return redis.call('HGET', key('commands'), field), redis.call('HGET', key('commandstates'), field)
end

-- The key of the accepted commands of the source of a record.
local function commands_of(record)
  return key('commandsof:' .. cjson.encode({record.source_scope, record.source}))
end

local function next_command_number()
  return redis.call('HINCRBY', key('commandstates'), '!', 1)
end

local function extend_commands()
  for _, name in ipairs({'commands', 'commandstates', 'commandsdue', 'commandsclosed'}) do
    redis.call('EXPIRE', key(name), COMMANDS_LIFETIME)
  end
end

-- Why an event may not close a command, which is {field, source, state, outcome}.
local function closing_refusal(closes)
  local record, state = read_command(closes.field)
  if not record or not is_open(state) or (closes.state and closes.state ~= state)
    or (closes.source and cjson.decode(record).source ~= closes.source) then
    return 'unknown_command'
  end
  return nil
end

local function close_command(closes)
  local record = cjson.decode(redis.call('HGET', key('commands'), closes.field))
  redis.call('HSET', key('commandstates'), closes.field, closes.outcome)
  redis.call('ZADD', key('commandsclosed'), next_command_number(), closes.field)
  redis.call('ZREM', key('commandsdue'), closes.field)
  redis.call('ZREM', commands_of(record), closes.field)
  extend_commands()
end
