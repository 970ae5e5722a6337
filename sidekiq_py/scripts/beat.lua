-- One heartbeat: running jobs, process hash, counters.
-- KEYS: identity, processes, stat:processed, stat:processed:<day>, stat:failed, stat:failed:<day>,
--       sidekiq-py:processes, then the work hashes (one, or two when 6.4 listens).
-- ARGV: identity, ttl, day ttl, flush number, processed, failed, owner, count of hash words, hash words…,
--       work words…
-- Returns {1 when the identity was known before, names of keys of another type, which were left alone…}.
--
-- UNLINK comes first: a script whose first write frees memory may go on writing at maxmemory.
for i = 8, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
local known = redis.call('EXISTS', KEYS[1])
local ttl, words = ARGV[2], tonumber(ARGV[8])

-- A key that others damaged must not make the process look dead.
local damaged = {}
local function count(key, amount)
  if type(redis.pcall('INCRBY', key, amount)) ~= 'number' then
    damaged[#damaged + 1] = key
  end
end

-- A beat whose reply was lost is sent again with the same flush number, and must not count twice.
if redis.call('HGET', KEYS[1], 'flush') ~= ARGV[4] then
  for i, amount in ipairs({ARGV[5], ARGV[6]}) do
    if amount ~= '0' then
      count(KEYS[1 + 2 * i], amount)
      count(KEYS[2 + 2 * i], amount)
      redis.call('EXPIRE', KEYS[2 + 2 * i], ARGV[3])
    end
  end
end

local listed = redis.pcall('SADD', KEYS[2], ARGV[1])
if type(listed) == 'table' then
  if not string.find(listed.err, 'WRONGTYPE') then
    return listed
  end
  damaged[#damaged + 1] = KEYS[2]
end
redis.call('HSET', KEYS[7], ARGV[1], ARGV[7])
redis.call('HSET', KEYS[1], 'flush', ARGV[4], unpack(ARGV, 9, 8 + words))
redis.call('EXPIRE', KEYS[1], ttl)
if #ARGV > 8 + words then
  for i = 8, #KEYS do
    for at = 9 + words, #ARGV, 2 do
      redis.call('HSET', KEYS[i], ARGV[at], ARGV[at + 1])
    end
    redis.call('EXPIRE', KEYS[i], ttl)
  end
end
return {known, unpack(damaged)}
