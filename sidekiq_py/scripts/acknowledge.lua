-- Takes finished jobs out of the claim lists. From the tail, where the oldest claims are.
-- KEYS: claim lists. ARGV: for each list, how many payloads follow, then those payloads.
-- Returns how many were not there any more (rescued by a peer, or acknowledged before).
local missed, at = 0, 1
for i = 1, #KEYS do
  local count = tonumber(ARGV[at])
  for j = at + 1, at + count do
    missed = missed + 1 - redis.call('LREM', KEYS[i], -1, ARGV[j])
  end
  at = at + count + 1
end
return missed
