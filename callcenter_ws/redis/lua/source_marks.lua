-- The marks of a tenant's sources, "marks": by the name of the source, "generation seq announced". The rules are those
-- of broker/source_marks.py. A rule is {"name", "gen", "seq", "after", "lease", "type"} for an event of a source, and
-- {"name", "say" (up, down, again), "lease"} for an event of the gateway about it.

local marks, raised = {}, {}

local function load_mark(name)
  if not marks[name] then
    local text = redis.call('HGET', key('marks'), name) or '0 0 0'
    local generation, seq, announced = string.match(text, '^(%d+) (%d+) (%d+)$')
    marks[name] = {gen = tonumber(generation), seq = tonumber(seq), up = tonumber(announced)}
  end
  return marks[name]
end

local function judge_announcement(mark, rule)
  if rule.say == 'again' then
    return mark.up == rule.lease and 'new' or 'known'
  elseif rule.say == 'up' then
    if mark.up >= rule.lease then
      return 'known'
    end
    mark.up = rule.lease
  else
    if mark.up == 0 or mark.up > rule.lease then
      return 'known'
    end
    mark.up = 0
  end
  return 'new'
end

local function is_below(mark, generation, seq)
  return mark.gen < generation or (mark.gen == generation and mark.seq < seq)
end

local function judge_number(mark, rule)
  if rule.gen < mark.gen then
    return 'stale'
  end
  if rule.seq > 0 then
    if not is_below(mark, rule.gen, rule.seq) then
      return 'known'
    elseif rule.after > 0 and is_below(mark, rule.gen, rule.after) then
      return 'early'
    end
    mark.gen, mark.seq = rule.gen, rule.seq
  end
  if rule.type == 'source.up' then
    mark.up = rule.lease
  elseif rule.type == 'source.down' then
    mark.up = 0
  end
  return 'new'
end

-- Return "new": append the event; "known": it is stored, or there is nothing to announce; "early": one is missing
-- before it; "stale": a later generation has published. Raise the mark of a new event; store_marks stores it.
local function judge(rule)
  local mark = load_mark(rule.name)
  local verdict = (rule.say and judge_announcement or judge_number)(mark, rule)
  if verdict == 'new' then
    raised[rule.name] = mark
  end
  return verdict
end

local function store_marks()
  for name, mark in pairs(raised) do
    redis.call('HSET', key('marks'), name, string.format('%.0f %.0f %.0f', mark.gen, mark.seq, mark.up))
  end
end
