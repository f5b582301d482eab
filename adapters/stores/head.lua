-- Begins the scripts that write as the holder of the lease.
-- KEYS: the names below, then a script's own. ARGV: fence, token, then a script's own.
-- Redis does not roll back a script that fails: every check stands before the first write.
local HEAD, LEASE, FACTS, EPOCHS, COMMITS, STEPS = unpack(KEYS, 1, 6)
local DOCUMENTS, INDEX, SIGNALS, IDS, AUDIT, BLOBS, JOURNAL = unpack(KEYS, 7, 13)
local FIELDS = {'commit', 'step', 'digest', 'epoch', 'steps_from', 'signals', 'documents', 'facts',
  'journal', 'journal_kept'}

local function text(number)
  return string.format('%.0f', number)
end

local function seal(head)
  local total, joined = 0, {}
  -- Without a journal the seal is the one of version 1, which had none.
  for i = 1, head.journal == '0' and #FIELDS - 2 or #FIELDS do joined[i] = head[FIELDS[i]] end
  joined = table.concat(joined, ':')
  for i = 1, #joined do
    total = (total * 257 + string.byte(joined, i) + 1) % 4294967291
  end
  return text(total)
end

-- The head as strings; a namespace without commits has the values of none.
local function read_head()
  local stored = redis.call('HMGET', HEAD, unpack(FIELDS))
  local head = {commit = '0', step = '0', digest = '', epoch = '0', steps_from = '1',
    signals = '0', documents = '0', facts = '0', journal = '0', journal_kept = '0'}
  if not stored[1] then
    local others = redis.call('EXISTS', FACTS, EPOCHS, COMMITS, STEPS, DOCUMENTS, INDEX, IDS,
      JOURNAL)
    return head, others > 0 and 'its head is missing, but not all else' or nil
  end
  for i, field in ipairs(FIELDS) do
    if not stored[i] and i <= #FIELDS - 2 then return head, 'its head lacks ' .. field end
    head[field] = stored[i] or '0'
  end
  if seal(head) ~= redis.call('HGET', HEAD, 'seal') then
    return head, 'its head fails its checksum'
  end
  return head
end

local function write_head(head)
  for _, field in ipairs(FIELDS) do redis.call('HSET', HEAD, field, head[field]) end
  redis.call('HSET', HEAD, 'seal', seal(head))
end

-- By the server's clock; higher in any case, as that may be put back.
local function beat()
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  redis.call('HSET', LEASE, 'beat', text(math.max(ms, redis.call('HGET', LEASE, 'beat') + 1)))
end

local lease = redis.call('HMGET', LEASE, 'fence', 'beat', 'token', 'holder')
if lease[1] ~= ARGV[1] or (ARGV[2] ~= '' and lease[3] ~= ARGV[2]) then
  return {'FENCED', lease[1] or '', lease[2] or '', lease[3] or '', lease[4] or ''}
end
local head, wrong = read_head()
local audited = redis.call('HGET', HEAD, 'audit') or '0'
if not string.match(audited, '^%d+$') then wrong = 'its count of audit entries is damaged' end
if not string.match(lease[2] or '', '^%d+$') then wrong = 'its lease is damaged' end
if wrong then return {'CORRUPT', wrong} end
