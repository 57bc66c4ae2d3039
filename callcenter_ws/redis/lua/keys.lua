-- Names of a tenant's keys. All have the prefix of KEYS[1] (the tenant's "meta") with the tenant as hash tag, so they
-- are in the same slot and scripts may derive them from it.

local base = string.sub(KEYS[1], 1, -5)

local function key(name)
  return base .. name
end

