-- Takes jobs from the claim list of a process that is gone back to the head of their queue.
-- KEYS: identity of that process, its claim list, queue list
-- ARGV: payloads, the one to run last first
-- Returns how many moved, or -1 when the process lives after all.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return -1
end
redis.call('LLEN', KEYS[3]) -- raises WRONGTYPE here, while every job is still claimed
must_be_allowed('RPUSH', KEYS[2], '')
local moved = 0
for i = 1, #ARGV do
  if redis.call('LREM', KEYS[2], -1, ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[3], ARGV[i])
    moved = moved + 1
  end
end
return moved
