-- Moves a claimed job of an unknown class into `schedule`, if we still hold it, and counts that.
-- KEYS: claim list, schedule, counter. ARGV: payload as claimed, payload to store, score, most hand-backs,
--       ttl of the counter.
-- Returns 1 when it moved, 0 when the claim was not ours any more, -1 when it was handed back too often: it
-- is claimed then as before.
redis.call('ZCARD', KEYS[2]) -- raises WRONGTYPE here, while the job is still claimed; so does the next line
local count = tonumber(redis.call('GET', KEYS[3]) or 0) or 0
must_be_allowed('RPUSH', KEYS[1], '')
must_be_allowed('SET', KEYS[3], '', 'NX', 'XX')
must_be_allowed('ZADD', KEYS[2], 'XX', 'NX', 0, '')
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then
  return 0
end
if count >= tonumber(ARGV[4]) then
  redis.call('RPUSH', KEYS[1], ARGV[1])
  return -1
end
redis.call('SET', KEYS[3], count + 1, 'EX', ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return 1
