-- Makes one commit durable, all of it or nothing. KEYS[14…]: the journals of the days that it has
-- entries of, then its states, which were staged before.
-- ARGV, after fence and token: number, digest; first and last step ('' for none); manifest ('' for
-- no snapshot), the epoch whose states it takes over ('' for none); how many days' journals; the
-- lengths of the staged states; then the rows, each kind after its count.
local position = 9

local function take()
  position = position + 1
  return ARGV[position]
end

local function take_rows(width)
  local rows = {}
  for i = 1, tonumber(take()) do
    rows[i] = {}
    for j = 1, width do rows[i][j] = take() end
  end
  return rows
end

local number, digest, first_step, last_step = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local manifest, before = ARGV[7], ARGV[8]

if tonumber(number) <= tonumber(head.commit) then
  local known = redis.call('XRANGE', COMMITS, number .. '-0', number .. '-0')
  if not known[1] then return {'PAST', head.commit} end
  if known[1][2][2] ~= digest then return {'CONFLICT', known[1][2][2]} end
  -- A write, so that a WAIT on this connection waits for the commit too.
  beat()
  return {'dup'}
end
if tonumber(number) ~= tonumber(head.commit) + 1 then return {'GAP', head.commit} end
if first_step ~= '' and tonumber(first_step) ~= tonumber(head.step) + 1 then
  return {'STEPS', head.step}
end
if before ~= '' and before ~= head.epoch then return {'CORRUPT', 'its newest epoch changed'} end

local first_state = 14 + tonumber(ARGV[9])
for i = first_state, #KEYS do
  if redis.call('STRLEN', KEYS[i]) ~= tonumber(take()) then return {'UNSTAGED', KEYS[i]} end
end

-- Reading each key also makes one of a wrong type fail here.
local function mismatch(command, key, expected, what)
  local found = redis.call(command, key)
  if found ~= tonumber(expected) then
    return {'CORRUPT', 'has ' .. text(found) .. ' ' .. what .. ', not the ' .. expected .. ' committed'}
  end
end

local bad = mismatch('XLEN', SIGNALS, head.signals, 'signals')
  or mismatch('HLEN', IDS, head.signals, 'ids of signals')
  or mismatch('HLEN', DOCUMENTS, head.documents, 'documents')
  or mismatch('ZCARD', INDEX, 2 * tonumber(head.documents), 'index entries of documents')
  or mismatch('HLEN', FACTS, head.facts, 'entries of meta')
if bad then return bad end
local journaled = 0
for _, count in ipairs(redis.call('HVALS', JOURNAL)) do
  journaled = journaled + (tonumber(count) or -1)
end
if text(journaled) ~= head.journal_kept then
  return {'CORRUPT', 'has ' .. text(journaled) .. ' journal entries, not the ' .. head.journal_kept
    .. ' committed'}
end
redis.call('HLEN', EPOCHS)
redis.call('SCARD', BLOBS)

local function accepts(stream, id)
  if redis.call('EXISTS', stream) == 0 then return true end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return tonumber(string.match(info[i + 1], '^(%d+)-')) < tonumber(id)
    end
  end
end

for stream, id in pairs({[COMMITS] = number, [SIGNALS] = number, [AUDIT] = tonumber(audited) + 1,
    [STEPS] = first_step ~= '' and first_step or nil}) do
  if not accepts(stream, id) then return {'CORRUPT', stream .. ' has later entries'} end
end

for i = 14, first_state - 1 do
  if not accepts(KEYS[i], tonumber(head.journal) + 1) then
    return {'CORRUPT', KEYS[i] .. ' has later entries'}
  end
end

local function parts(joined)
  local found = {}
  for part in string.gmatch(joined .. '\0', '(%Z*)%z') do found[#found + 1] = part end
  return found
end

-- Columns of texts with NULs between them: an argument each would take the client longer than all
-- the rest. The bodies follow each other.
local function take_signals()
  local rows = {}
  for _ = 1, tonumber(take()) do
    local day, ids, sessions, symbols = take(), parts(take()), parts(take()), parts(take())
    local crcs, lengths, bodies, at = parts(take()), parts(take()), take(), 1
    for i, id in ipairs(ids) do
      local after = at + tonumber(lengths[i])
      rows[#rows + 1] = {id, day, sessions[i], symbols[i], string.sub(bodies, at, after - 1), crcs[i]}
      at = after
    end
  end
  return rows
end

local steps, journal, documents = take_rows(7), take_rows(6), take_rows(5)
local signals = take_signals()
local audit, facts = take_rows(2), take_rows(2)

local function index_members(day_and_session, status, completed)
  local day, session = string.match(day_and_session, '^(%d%d%d%d%-%d%d%-%d%d)%z(.*)$')
  return table.concat({'d', day, status, session}, '\0'),
    table.concat({'s', status, completed, day, session}, '\0')
end

-- The entries that replaced documents have in the index.
local outdated = {}
for _, row in ipairs(documents) do
  local old = redis.call('HGET', DOCUMENTS, row[1])
  if old then
    local status, completed = string.match(old, '^(%Z*)%z(%Z*)%z')
    if not status then return {'CORRUPT', 'a document of ' .. string.sub(row[1], 1, 10) .. ' is damaged'} end
    local by_day, by_status = index_members(row[1], status, completed)
    outdated[#outdated + 1] = by_day
    outdated[#outdated + 1] = by_status
  end
end

-- From here on nothing may fail.
for _, row in ipairs(steps) do
  redis.call('XADD', STEPS, row[1] .. '-0', 'first', row[2], 'market_ns', row[3], 'grant', row[4],
    'digest', row[5], 'trading_date', row[6], 'crc', row[7])
end
for i, row in ipairs(journal) do
  redis.call('XADD', KEYS[13 + tonumber(row[1])], text(tonumber(head.journal) + i) .. '-0',
    'entry', row[3], 'body', row[4], 'crc', row[5], 'step', row[6])
  redis.call('HINCRBY', JOURNAL, row[2], 1)
end
for _, member in ipairs(outdated) do redis.call('ZREM', INDEX, member) end
for _, row in ipairs(documents) do
  local key, status, completed, crc, body = unpack(row)
  redis.call('HSET', DOCUMENTS, key, table.concat({status, completed, crc, body}, '\0'))
  local by_day, by_status = index_members(key, status, completed)
  redis.call('ZADD', INDEX, 0, by_day, 0, by_status)
end
local appended = 0
for first = 1, #signals, 1000 do  -- a call takes a few thousand arguments at most
  local last, ids, added, seen = math.min(first + 999, #signals), {}, {}, {}
  for i = first, last do ids[#ids + 1] = signals[i][1] end
  local known = redis.call('HMGET', IDS, unpack(ids))
  for i, key in ipairs(ids) do
    if not known[i] and not seen[key] then
      local row, id = signals[first + i - 1], number .. '-' .. text(appended)
      redis.call('XADD', SIGNALS, id, 'id', key, 'trading_date', row[2], 'session', row[3],
        'symbol', row[4], 'body', row[5], 'crc', row[6])
      seen[key] = true
      added[#added + 1] = key
      added[#added + 1] = id
      appended = appended + 1
    end
  end
  if #added > 0 then redis.call('HSET', IDS, unpack(added)) end
end
for _, row in ipairs(audit) do
  audited = text(redis.call('HINCRBY', HEAD, 'audit', 1))
  redis.call('XADD', AUDIT, audited .. '-0', 'entry', row[1], 'crc', row[2])
end
for _, row in ipairs(facts) do redis.call('HSET', FACTS, row[1], row[2]) end
if manifest ~= '' then
  redis.call('HSET', EPOCHS, number, manifest)
  head.epoch = number
end
redis.call('XADD', COMMITS, number .. '-0', 'digest', digest)
head.commit, head.digest = number, digest
if last_step ~= '' then head.step = last_step end
head.signals = text(tonumber(head.signals) + appended)
head.documents = text(redis.call('HLEN', DOCUMENTS))
head.facts = text(redis.call('HLEN', FACTS))
head.journal = text(tonumber(head.journal) + #journal)
head.journal_kept = text(tonumber(head.journal_kept) + #journal)
write_head(head)
beat()
return {'ok'}
