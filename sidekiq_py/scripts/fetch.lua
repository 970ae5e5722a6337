-- Takes up to `want` jobs off the queues into this process's claim lists, in the order given.
-- KEYS: identity, paused, n queue lists, n claim lists
-- ARGV: n, want, live processes, n queue names, n quotas
-- Returns "FENCED" when the identity's heartbeat is gone (its claims may be someone else's by now), else one
-- slot a queue: a list of payloads, false when paused, an error text when its key is no list.
--
-- RPOP comes before LPUSH: a script whose first write frees memory may go on writing at maxmemory, so the
-- queues drain even when Redis is full.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'FENCED'
end
local n, left, processes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most_bytes, most_at_once = 1048576, 100
local taken, room = {}, {}

-- A damaged `paused` is no reason to stop everything.
local paused = redis.pcall('SMISMEMBER', KEYS[2], unpack(ARGV, 4, 3 + n))
for i = 1, n do taken[i] = paused[i] ~= 1 and {} end

-- How much may be taken of a queue; asked only of those that `want` reaches, for many queues are the rule.
local function look(i)
  room[i] = 0
  local length = redis.pcall('LLEN', KEYS[2 + i])
  if length == 0 then
    return
  end
  local claimed = redis.pcall('LLEN', KEYS[2 + n + i])
  if type(length) == 'table' or type(claimed) == 'table' then
    taken[i] = type(length) == 'table' and length.err or claimed.err
  else
    -- An even share of what waits: one process must not swallow a small burst that others could run.
    room[i] = math.max(1, math.ceil(length / processes))
  end
end

local jobs, bytes = 0, 0
local is_allowed = false

-- As many as will fit, going by the size of those seen so far; the first one tells.
local function chunk(count)
  if jobs == 0 then
    return 1
  end
  local fitting = math.floor((most_bytes - bytes) * jobs / math.max(bytes, 1))
  return math.max(1, math.min(count, fitting, most_at_once))
end

local function take(i, most)
  if not taken[i] or math.min(most, left) <= 0 then
    return
  end
  if not room[i] then
    look(i)
  end
  local count = math.min(most, room[i], left)
  if count > 0 and not is_allowed then
    must_be_allowed('LPUSH', KEYS[2 + n + i], '')
    is_allowed = true
  end
  while count > 0 and bytes < most_bytes do
    local payloads = redis.call('RPOP', KEYS[2 + i], chunk(count))
    if not payloads then
      room[i] = 0
      return
    end
    redis.call('LPUSH', KEYS[2 + n + i], unpack(payloads))
    for _, payload in ipairs(payloads) do
      taken[i][#taken[i] + 1] = payload
      bytes = bytes + #payload
    end
    jobs = jobs + #payloads
    count, room[i], left = count - #payloads, room[i] - #payloads, left - #payloads
  end
end

for i = 1, n do take(i, tonumber(ARGV[3 + n + i])) end
for i = 1, n do take(i, left) end
return taken
