-- Moves jobs from a sorted set to their queues. A job moves only if this call removed it from the set,
-- so pollers, ours and Ruby's, may race; and it is never out of Redis in between.
-- KEYS: sorted set, queues. ARGV: for each job: member, queue name, payload to push ("" drops the job).
-- Returns how many moved. A job whose queue's key is no list stays where it is.
redis.call('SCARD', KEYS[2]) -- raises WRONGTYPE here, while every job is still in the set
must_be_allowed('SADD', KEYS[2], '')
must_be_allowed('LPUSH', KEYS[2], '')
local moved = 0
for i = 1, #ARGV, 3 do
  local queue = 'queue:' .. ARGV[i + 1]
  local usable = ARGV[i + 2] == '' or type(redis.pcall('LLEN', queue)) == 'number'
  if usable and redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    if ARGV[i + 2] ~= '' then
      redis.call('SADD', KEYS[2], ARGV[i + 1])
      redis.call('LPUSH', queue, ARGV[i + 2])
    end
    moved = moved + 1
  end
end
return moved
