-- The names of a tenant's keys. All begin alike, with its name as the hash tag, so that a script may make the others'
-- from KEYS[1], its "meta": they are in the same slot.

local base = string.sub(KEYS[1], 1, -5)

local function key(name)
  return base .. name
end

