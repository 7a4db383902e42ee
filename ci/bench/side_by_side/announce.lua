-- For wrk: announces of peers drawn at random, for torrents of a list of which the first are drawn more often.
--
--   wrk ... -s announce.lua URL -- HASHES close|keep-alive SEED
--
-- Prints one line of JSON at the end. wrk counts a read error for every connection that the tracker closes without
-- saying so in its reply; those are not errors.

local torrents, head = {}, ""

function init(arguments)
  for line in io.lines(arguments[1]) do
    torrents[#torrents + 1] = line:gsub("%x%x", "%%%0")
  end
  head = " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: " .. arguments[2] .. "\r\n\r\n"
  math.randomseed(tonumber(arguments[3]))
end

function request()
  local torrent = torrents[math.floor(#torrents * math.random() ^ 3) + 1]
  local peer = math.random(1, 128)
  return "GET /announce?info_hash=" .. torrent .. "&peer_id=-BENCH0-abcdefghijkl&port=" .. peer
    .. "&uploaded=0&downloaded=0&left=" .. (peer % 4 == 0 and 0 or 1) .. "&compact=1&numwant=30" .. head
end

function done(summary)
  local errors = summary.errors
  io.write(string.format('{"responses": %d, "per_second": %.0f, "errors": %d}\n', summary.requests,
    summary.requests / summary.duration * 1e6, errors.connect + errors.write + errors.status + errors.timeout))
end
