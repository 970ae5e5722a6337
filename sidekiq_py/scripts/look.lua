-- One look at what waits: a signal for this process, and the jobs that are due next.
-- KEYS: identity-signals, then sorted sets of jobs by due time.
-- Returns {signal or false, for each set the earliest due time or false}. A set that can't be read counts as
-- due since ever, so that the poller goes there and tells what is wrong.
local found = {redis.call('RPOP', KEYS[1])}
for i = 2, #KEYS do
  local first = redis.pcall('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  found[i] = first.err and '-inf' or first[2] or false
end
return found
