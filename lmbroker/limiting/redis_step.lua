-- One step of the limits in Redis, atomic: the arithmetic of routing/limit_ledger.py.
--
-- KEYS[1] begins the names of all keys. Its braces keep them on one node of a cluster.
-- ARGV: step, time ("" for the clock of Redis), holder, lease, seconds that a holder lasts,
-- then for each bound: counter, seconds of its bucket (0 for none), period of its window ("" for
-- none), limit, "1" for soft, "1" where only what was let through counts, amount.
local prefix, step, now = KEYS[1], ARGV[1], tonumber(ARGV[2])
local holder, lease, lasts = ARGV[3], ARGV[4], tonumber(ARGV[5])
if not now then
  local time = redis.call("TIME")
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local ROUNDING = 1e-8
-- Keys of windows and buckets are forgotten after the longest month, those of jobs that are done
-- after the longest time that a message may be on its way.
local FORGOTTEN, ANSWERED = 3456000, 600
local SECONDS = {minute = 60, hour = 3600, day = 86400}
local FIELDS = 7

local function text(number)
  return string.format("%.17g", number)
end

-- The days from 1970 to the first of a month; March is month 0 of its year.
local function days(year, month)
  year, month = year + math.floor(month / 12), month % 12
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * month + 2) / 5) - 719468
end

local function window_end(period)
  local length = SECONDS[period]
  if length then
    return (math.floor(now / length) + 1) * length
  end
  local today = math.floor(now / 86400)
  local year = math.floor((today + 719468) / 365.2425)
  local month = 0
  while days(year, 0) > today do
    year = year - 1
  end
  while days(year, month + 1) <= today do
    month = month + 1
  end
  return days(year, month + 1) * 86400
end

local function counter_key(name)
  return prefix .. ":counter:" .. name
end

local function leases_key(of)
  return prefix .. ":leases:" .. of
end

local function give_back(held)
  local amounts = cjson.decode(held)
  for at = 1, #amounts, 2 do
    redis.call("HINCRBY", counter_key(amounts[at]), "reserved", "-" .. amounts[at + 1])
  end
end

local function drop(of)
  local held = redis.call("HVALS", leases_key(of))
  for at = 1, #held do
    give_back(held[at])
  end
  redis.call("DEL", leases_key(of))
  redis.call("ZREM", prefix .. ":holders", of)
end

local bounds = {}
for at = 6, #ARGV, FIELDS do
  local bound = {
    name = ARGV[at],
    drains = tonumber(ARGV[at + 1]),
    period = ARGV[at + 2],
    limit = tonumber(ARGV[at + 3]),
    soft = ARGV[at + 4] == "1",
    through = ARGV[at + 5] == "1",
    amount = tonumber(ARGV[at + 6]),
    written = ARGV[at + 6],
  }
  bound.slack = bound.drains > 0 and bound.limit * ROUNDING or 0
  bounds[#bounds + 1] = bound
end

local function look(bound)
  local key = counter_key(bound.name)
  local found = redis.call("HMGET", key, "used", "at", "reserved")
  bound.key = key
  bound.used = tonumber(found[1] or "0")
  bound.at = tonumber(found[2] or (bound.drains > 0 and text(now) or "0"))
  bound.reserved = tonumber(found[3] or "0")
  if bound.drains > 0 then
    local gone = now - bound.at
    if gone > 0 and bound.used > 0 then
      bound.used = math.max(0, bound.used - gone * bound.limit / bound.drains)
    end
    bound.at = now
  elseif bound.period ~= "" and now >= bound.at then
    bound.used = 0
    bound.at = window_end(bound.period)
  end
end

local function use(bound, amount)
  bound.used = bound.used + amount
  if bound.soft and bound.drains > 0 and bound.used > bound.limit + amount then
    bound.used = bound.limit + amount
  end
  redis.call("HSET", bound.key, "used", text(bound.used), "at", text(bound.at))
end

local function forget_later(bound)
  if bound.drains > 0 or bound.period ~= "" then
    redis.call("EXPIRE", bound.key, FORGOTTEN)
  end
end

local function wait(bound)
  if bound.amount > bound.limit then
    return -1
  elseif bound.used + bound.amount <= bound.limit then
    return 1
  elseif bound.drains > 0 then
    return (bound.used + bound.amount - bound.limit) * bound.drains / bound.limit
  elseif bound.period ~= "" then
    return bound.at - now
  end
  return -1
end

local function answer(granted, refusing, retry_after, over)
  local remaining, resets = {}, {}
  for at, bound in ipairs(bounds) do
    local left = math.floor(bound.limit - bound.used - bound.reserved + bound.slack)
    remaining[at] = string.format("%.0f", math.max(0, left))
    local reset = -1
    if bound.drains > 0 then
      reset = bound.used * bound.drains / bound.limit
    elseif bound.period ~= "" then
      reset = bound.at - now
    end
    resets[at] = text(reset)
  end
  local function list(of)
    return "[" .. table.concat(of, ",") .. "]"
  end
  return "[" .. table.concat({
    granted and "true" or "false", list(refusing), text(retry_after), list(over),
    list(remaining), list(resets),
  }, ",") .. "]"
end

-- Holders that have not said for a while that they are there are gone.
local holders = prefix .. ":holders"
if step ~= "read" then
  for _, gone in ipairs(redis.call("ZRANGEBYSCORE", holders, "-inf", text(now))) do
    drop(gone)
  end
end

if step == "drop" then
  drop(holder)
  return "[]"
elseif step == "renew" then
  redis.call("ZADD", holders, text(now + lasts), holder)
  return "[]"
elseif step == "cancel" or step == "settle" then
  -- The same word may come twice, and may overtake the reservation that it is about.
  local mark = prefix .. ":" .. step .. ":" .. lease
  if redis.call("SET", mark, "1", "NX", "EX", ANSWERED) then
    local held = redis.call("HGET", leases_key(holder), lease)
    if held then
      give_back(held)
      redis.call("HDEL", leases_key(holder), lease)
    end
    for _, bound in ipairs(bounds) do
      if bound.amount > 0 then
        look(bound)
        use(bound, bound.amount)
        forget_later(bound)
      end
    end
  end
  return "[]"
end

for _, bound in ipairs(bounds) do
  look(bound)
end
if step == "read" then
  return answer(true, {}, 0, {})
end

local refusing, over = {}, {}
for at, bound in ipairs(bounds) do
  local wanted = bound.used + bound.reserved + bound.amount
  if bound.amount > 0 and wanted > bound.limit + bound.slack then
    if bound.soft then
      over[#over + 1] = at - 1
    else
      bound.place, bound.wait = at - 1, wait(bound)
      refusing[#refusing + 1] = bound
    end
  end
end
if #refusing > 0 or redis.call("EXISTS", prefix .. ":cancel:" .. lease) == 1 then
  table.sort(refusing, function(one, other)
    if (one.wait == -1) ~= (other.wait == -1) then
      return one.wait == -1
    elseif one.wait ~= other.wait then
      return one.wait > other.wait
    end
    return one.place < other.place
  end)
  local places = {}
  for at, bound in ipairs(refusing) do
    places[at] = bound.place
  end
  return answer(false, places, refusing[1] and refusing[1].wait or 1, over)
end

local held = {}
for _, bound in ipairs(bounds) do
  if bound.through then
    use(bound, bound.amount)
  elseif bound.amount > 0 then
    redis.call("HINCRBY", bound.key, "reserved", bound.written)
    bound.reserved = bound.reserved + bound.amount
    held[#held + 1] = bound.name
    held[#held + 1] = bound.written
  end
  forget_later(bound)
end
if #held > 0 then
  redis.call("HSET", leases_key(holder), lease, cjson.encode(held))
  redis.call("ZADD", holders, "NX", text(now + lasts), holder)
end
return answer(true, {}, 0, over)
