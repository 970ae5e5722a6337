-- Deletes a queue or a sorted set, and a queue's name from the list of queues.
-- KEYS: list or sorted set, perhaps queues. ARGV: command that tells the size, perhaps the queue's name.
-- Returns how many jobs that were; an error for a key of another type, which is deleted as well.
--
-- No MULTI: that is refused at maxmemory, just when somebody wants room.
local size = redis.pcall(ARGV[1], KEYS[1])
redis.call('UNLINK', KEYS[1])
if KEYS[2] then
  redis.call('SREM', KEYS[2], ARGV[2])
end
return size
