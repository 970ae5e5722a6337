-- Marks the minute of a deploy, unless that was done a moment ago. KEYS: lock, marks.
-- ARGV: minute, label, ttl of the lock, ttl of the marks. Returns 1 when the mark is made, else 0.
redis.call('HLEN', KEYS[2]) -- raises WRONGTYPE here, before the lock is taken
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[3]) then
  return 0
end
redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
