-- Puts one entry of the step log in place of several at its end, and so in journals, if nothing was
-- committed since they were read. KEYS[14…]: the journals.
-- ARGV, after fence and token: the commit that was read; how many entries of the step log go, their
-- ids, and if any go the id and the row of the one that comes; then for each journal its name, how
-- many entries go, their ids, and the row of the one that comes.
if ARGV[3] ~= head.commit then return {'CHANGED'} end
local position = 3

local function take()
  position = position + 1
  return ARGV[position]
end

local function take_row(width)
  local row = {}
  for i = 1, width do row[i] = take() end
  return row
end

local function drop(stream)
  local dropped = 0
  for _ = 1, tonumber(take()) do dropped = dropped + redis.call('XDEL', stream, take()) end
  return dropped
end

redis.call('XLEN', STEPS)
if drop(STEPS) > 0 then
  local row = take_row(7)
  redis.call('XADD', STEPS, row[1], 'first', row[2], 'market_ns', row[3], 'grant', row[4],
    'digest', row[5], 'trading_date', row[6], 'crc', row[7])
end
for i = 14, #KEYS do
  local name = take()
  local dropped = drop(KEYS[i])
  head.journal = text(tonumber(head.journal) + 1)
  head.journal_kept = text(tonumber(head.journal_kept) + 1 - dropped)
  local row = take_row(4)
  redis.call('XADD', KEYS[i], head.journal .. '-0', 'entry', row[1], 'body', row[2], 'crc', row[3],
    'step', row[4])
  redis.call('HINCRBY', JOURNAL, name, 1 - dropped)
end
write_head(head)
return {'ok'}
