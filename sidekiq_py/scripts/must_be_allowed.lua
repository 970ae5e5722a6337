-- In front of each script that takes a job from one place to put it into another: Redis rolls nothing back, so a
-- right that the user lacks has to show before the job is taken.

local UNDO = {LPUSH = {'LREM', 1, ''}, RPUSH = {'LREM', -1, ''}, SADD = {'SREM', ''}}

-- Raises when the user may not run the command. Its arguments must be such that it does nothing, or add ''.
-- The right to a key needs no look: without it, Redis doesn't run a script that declares the key.
local function must_be_allowed(command, key, ...)
  if redis.acl_check_cmd then
    if not redis.acl_check_cmd(command, key, ...) then
      error({err = 'NOPERM this user may not run ' .. command})
    end
    return
  end

  -- Redis 6.2 can't be asked, only tried.
  local function try(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and string.find(answer.err, 'The user executing the script', 1, true) then
      redis.call(...) -- raises
    end
    return type(answer) == 'number'
  end
  local undo = UNDO[command]
  if undo then
    try(undo[1], key, unpack(undo, 2))
  end
  if try(command, key, ...) and undo then
    redis.call(undo[1], key, unpack(undo, 2))
  end
end

