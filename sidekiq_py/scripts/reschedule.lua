-- Moves a claimed job into a sorted set (retry, or schedule for a job handed back), if we still hold it.
-- KEYS: claim list, sorted set. ARGV: payload as claimed, payload to store, score.
-- Returns 1 when it moved, 0 when the claim was not ours any more.
redis.call('ZCARD', KEYS[2]) -- raises WRONGTYPE here, while the job is still claimed
must_be_allowed('ZADD', KEYS[2], 'XX', 'NX', 0, '')
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then
  return 0
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return 1
