-- Leaves a signal for processes. KEYS: their lists of signals. ARGV: signal, ttl.
--
-- LREM comes first: a script whose first write frees memory may go on writing at maxmemory.
for i = 1, #KEYS do
  redis.call('LREM', KEYS[i], 0, '')
  redis.call('LPUSH', KEYS[i], ARGV[1])
  redis.call('EXPIRE', KEYS[i], ARGV[2])
end
