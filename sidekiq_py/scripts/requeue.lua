-- Puts claimed jobs back at the head of their queues: they run next. Each only if we still hold it.
-- KEYS: claim list, queue list. ARGV: payloads, the one to run last first.
-- Returns how many went back.
redis.call('LLEN', KEYS[2]) -- raises WRONGTYPE here, while every job is still claimed
must_be_allowed('RPUSH', KEYS[1], '')
local moved = 0
for i = 1, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[2], ARGV[i])
    moved = moved + 1
  end
end
return moved
