-- Moves jobs into the dead set, then trims it. Each job only if this call removed it from its source.
-- KEYS: source (a claim or queue list, or a sorted set), dead
-- ARGV: "list" or "zset", now, oldest time kept, most jobs, then for each job: member in the source, payload
--       to store. A payload with the same bytes as the member is stored as it is.
-- Returns which moved: their positions among the jobs given, from 1.
--
-- The trim removes ranks 0 to -most, as Ruby's does: at most (most - 1) jobs stay.
redis.call('ZCARD', KEYS[2]) -- raises WRONGTYPE here, while every job is still in its source
must_be_allowed('ZADD', KEYS[2], 'XX', 'NX', 0, '')
local moved = {}
for i = 5, #ARGV, 2 do
  local held
  if ARGV[1] == 'zset' then
    held = redis.call('ZREM', KEYS[1], ARGV[i])
  else
    held = redis.call('LREM', KEYS[1], -1, ARGV[i])
  end
  if held == 1 then
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[i + 1])
    moved[#moved + 1] = (i - 3) / 2
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[4]))
return moved
