-- wrk's script: each request posts its own body, the three steps of one call after another.
-- The first argument is the token. Optional arguments follow:
--   close        each connection carries one request
--   random       random call ids, as in SIP, different in each run
--   invalid      the events have a timestamp that is none
--   pause=MS     a connection pauses before its next request: MS on average, evenly spread
--   ids          each request has its own X-Request-Id, as behind a proxy that adds one
--   mapped       the requests go to /in/kamailio, whose form maps them
--   batch=ITEMS  each request carries ITEMS events as lines; its body is one of a few that are made at the start
-- The script prints one line of JSON at the end; bench/harness/wrk.py reads it.

local threads = 0
local count = 0
local digits = 12
local kinds = {}
local call_of

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local function counted()
  return string.format("%02x%010x", number, math.floor(count / 3))
end

local random_call
local has_ids

local function random()
  if count % 3 == 0 or not random_call then -- wrk calls `request` once more for thread 0, before the first request
    random_call = string.format("%04x%08x", math.random(0, 0xffff), math.random(0, 0xffffffff))
  end
  return random_call
end

local BATCHES = 20
local batches = {}

local function batch_of(token, items)
  local lines = {}
  for item = 0, items - 1 do
    local kind = kinds[count % 3]
    lines[#lines + 1] = kind.before .. counted() .. kind.after
    count = count + 1
  end
  local body = table.concat(lines, "\n")
  return "POST /api/call-events/batch HTTP/1.1\r\nHost: localhost\r\nX-API-TOKEN: " .. token
    .. "\r\nContent-Type: application/x-ndjson\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

local function kind_of(token, path, event_type, more, connection, time)
  local before = '{"call_id": "'
  local after = '@pbx.example.com", "from_number": "+15551230001", "to_number": "+15551230002", "event_type": "'
    .. event_type .. '", "timestamp": "' .. time .. '"' .. more .. '}'
  local length = #before + digits + #after
  local line = "POST " .. path .. " HTTP/1.1\r\n"
  local head = "Host: localhost\r\nX-API-TOKEN: " .. token
    .. connection .. "\r\nContent-Type: application/json\r\nContent-Length: " .. length .. "\r\n\r\n"
  return { line .. head .. before, after, line = line, rest = head .. before, before = before, after = after }
end

function init(args)
  local wanted = {}
  for at = 2, #args do
    local name, value = args[at]:match("^(%a+)=?(%d*)$")
    wanted[name] = tonumber(value) or true
  end
  local connection = wanted.close and "\r\nConnection: close" or ""
  local path = wanted.mapped and "/in/kamailio" or "/api/call-events"
  local time = wanted.invalid and "yesterday at noon.." or "2025-01-31T13:45:00Z"
  kinds[0] = kind_of(args[1], path, "call_started", "", connection, time)
  kinds[1] = kind_of(args[1], path, "call_answered", "", connection, time)
  kinds[2] = kind_of(args[1], path, "call_ended", ', "duration": 42', connection, time)
  for at = 1, wanted.batch and BATCHES or 0 do
    batches[at] = batch_of(args[1], wanted.batch)
  end
  has_ids = wanted.ids
  call_of = wanted.random and random or counted
  math.randomseed(os.time() * 16 + number)
  if wanted.pause then -- wrk calls `delay` only if it exists
    delay = function() return math.random(0, 2 * wanted.pause) end
  end
end

function request()
  if #batches > 0 then
    count = count + 1
    return batches[count % #batches + 1]
  end
  local kind = kinds[count % 3]
  local call = call_of()
  count = count + 1
  if has_ids then
    return kind.line .. "X-Request-Id: " .. number .. "-" .. count .. "\r\n" .. kind.rest .. call .. kind[2]
  end
  return kind[1] .. call .. kind[2]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"not_2xx": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
