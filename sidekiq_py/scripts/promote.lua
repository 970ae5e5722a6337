-- Moves due jobs from a sorted set to their queues. A job moves only if this call removed it from the set,
-- so pollers, ours and Ruby's, may race; and it is never out of Redis in between.
-- KEYS: sorted set, queues. ARGV: for each job: member, queue name, payload to push ("" drops the job).
-- Returns how many moved.
local moved = 0
for i = 1, #ARGV, 3 do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    if ARGV[i + 2] ~= '' then
      redis.call('SADD', KEYS[2], ARGV[i + 1])
      redis.call('LPUSH', 'queue:' .. ARGV[i + 1], ARGV[i + 2])
    end
    moved = moved + 1
  end
end
return moved
