-- One page of a sorted set: what follows a member, though that may be gone or have another score by now.
-- KEYS: sorted set. ARGV: "ZRANGE" or "ZREVRANGE", length of a page, perhaps the member and the score it had.
-- Returns the page, with scores.
--
-- Place and page are of the same moment: whatever comes and goes between pages shifts nothing.
local range, length, member, score = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local upwards = range == 'ZRANGE'

local function page(start, count)
  return redis.call(range, KEYS[1], start, start + count - 1, 'WITHSCORES')
end

-- Lua's own < goes by the server's language, Redis by bytes.
local function is_lower(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then return a < b end
  end
  return #one < #other
end

-- Members of one score stand in the order of their bytes: halve the stretch down to the place.
local function rank_among_equals(low, high)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local probe = page(middle, 1)[1]
    if probe == member or is_lower(probe, member) == upwards then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

if not member then
  return page(0, length)
end
local before
if upwards then
  before = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
else
  before = redis.call('ZCOUNT', KEYS[1], '(' .. score, '+inf')
end
local equal = redis.call('ZCOUNT', KEYS[1], score, score)
return page(rank_among_equals(before, before + equal), length)
