-- Takes an entry out of a sorted set.
-- KEYS: the sorted set. ARGV: the entry.
-- Returns 1 when it was there, else 0.
return redis.call('ZREM', KEYS[1], ARGV[1])
