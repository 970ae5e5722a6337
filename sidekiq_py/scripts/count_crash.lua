-- Notes that a process died while it ran a job. The same death counts once, whoever notes it.
-- KEYS: set of processes that died running the job. ARGV: identity of the process, ttl.
-- Returns how many are in the set.
--
-- SREM comes first: a script whose first write frees memory may go on writing at maxmemory.
redis.call('SREM', KEYS[1], '')
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('SCARD', KEYS[1])
