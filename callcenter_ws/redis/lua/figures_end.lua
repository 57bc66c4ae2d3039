-- Remove the live figures and the hold of a tenant, and announce it. ARGV: 1 the tenant's channel.

redis.call('HDEL', KEYS[1], 'hold', 'holdevents', 'holdbytes')
redis.call('UNLINK', key('figurelive'))
redis.call('SPUBLISH', ARGV[1], '=\n')
return 1
