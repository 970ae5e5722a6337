-- Gives a member of a sorted set another score, if it is there. KEYS: sorted set. ARGV: member, score.
-- Returns 1 when it was there, else 0.
--
-- ZREM comes first: a script whose first write frees memory may go on writing at maxmemory.
must_be_allowed('ZADD', KEYS[1], 'XX', 'NX', 0, '')
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
