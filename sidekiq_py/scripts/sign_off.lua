-- Takes a process that is gone off the lists. Of the registry of claims only when that is given.
-- KEYS: its two work hashes, processes, perhaps sidekiq-py:processes. ARGV: identity.
-- Returns the names of lists that hold something else; the others are done all the same.
--
-- UNLINK comes first, and no MULTI: that is refused at maxmemory, whatever is in it.
redis.call('UNLINK', KEYS[1], KEYS[2])
local damaged = {}
for i, command in ipairs({'SREM', 'HDEL'}) do
  local list = KEYS[2 + i]
  if list and type(redis.pcall(command, list, ARGV[1])) ~= 'number' then
    damaged[#damaged + 1] = list
  end
end
return damaged
