-- Takes one job over from the claim list of a process that is gone.
-- KEYS: identity of the one who takes it, claim list it is in, claim list of the one who takes it
-- ARGV: payload
-- Returns "FENCED" when the taker's own heartbeat is gone, else 1 when it was there, 0 when not.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'FENCED'
end
redis.call('LLEN', KEYS[3]) -- raises WRONGTYPE here, while the job is still where it was
must_be_allowed('LPUSH', KEYS[3], '')
if redis.call('LREM', KEYS[2], -1, ARGV[1]) == 0 then
  return 0
end
redis.call('LPUSH', KEYS[3], ARGV[1])
return 1
