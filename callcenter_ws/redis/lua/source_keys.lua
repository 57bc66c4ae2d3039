-- The registered sources. KEYS[1] is the set of all; "of:K" is the hash of source K; "leases", the sorted set of the
-- sources whose lease has not ended, by its end; "ending", the hash of ended leases for which source.down may not be
-- published yet, by source and number of the lease; "released", the highest number of a lease of a source that has lost
-- a tenant; "watch", when leases were last looked at, and since when that was not interrupted.
--
-- Fields of a source: "subject", "instance", "link" (its connection, or ""), "generation", "lease" (the number of its
-- lease), "claimed" (tenants, JSON), "facts" (JSON), "announced" (when it was last announced, Unix seconds).

local base = string.sub(KEYS[1], 1, -4)

local function key(name)
  return base .. name
end

local function redis_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function extend_lease(source, seconds)
  redis.call('ZADD', key('leases'), string.format('%.6f', redis_time() + seconds), source)
end
