-- wrk's script: each request posts a body of its own, the three steps of one call after another.
-- Arguments: the token. Prints one line of JSON at the end; bench/wrk.py reads it.

local threads = 0
local count = 0
local digits = 12
local kinds = {}

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local function kind_of(token, event_type, more)
  local before = '{"call_id": "'
  local after = '@pbx.example.com", "from_number": "+15551230001", "to_number": "+15551230002", "event_type": "'
    .. event_type .. '", "timestamp": "2025-01-31T13:45:00Z"' .. more .. '}'
  local length = #before + digits + #after
  local head = "POST /api/call-events HTTP/1.1\r\nHost: localhost\r\nX-API-TOKEN: " .. token
    .. "\r\nContent-Type: application/json\r\nContent-Length: " .. length .. "\r\n\r\n"
  return { head .. before, after }
end

function init(args)
  kinds[0] = kind_of(args[1], "call_started", "")
  kinds[1] = kind_of(args[1], "call_answered", "")
  kinds[2] = kind_of(args[1], "call_ended", ', "duration": 42')
end

function request()
  local kind = kinds[count % 3]
  local call = string.format("%02x%010x", number, math.floor(count / 3))
  count = count + 1
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
