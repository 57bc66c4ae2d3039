-- Names of a tenant's keys. All have the prefix of KEYS[1] (the tenant's "meta") with the tenant as hash tag, so they
-- are in the same slot and scripts may derive them from it.
--
-- Names kept for compatibility: "farewells", the pending offline announcements; "here:I", the users with connections at
-- node I; "letters:U", the items of user U's mailbox.

local base = string.sub(KEYS[1], 1, -5)

local function key(name)
  return base .. name
end

