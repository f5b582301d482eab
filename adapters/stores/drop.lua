-- Drops what pruning found dispensable, if nothing was committed since it looked.
-- KEYS[14…]: journals of days, then states. ARGV, after fence and token: the commit it looked at,
-- the first step to keep ('' to keep all), the first commit whose digest is kept, how many days'
-- journals go, and which days, then the epochs that go.
if ARGV[3] ~= head.commit then return {'CHANGED'} end
local days, journaled = tonumber(ARGV[6]), 0
for i = 7, 6 + days do
  local count = tonumber(redis.call('HGET', JOURNAL, ARGV[i]))
  if not count then return {'CORRUPT', 'its journal of ' .. ARGV[i] .. ' is damaged'} end
  journaled = journaled + count
end
for i = 7, 6 + days do redis.call('HDEL', JOURNAL, ARGV[i]) end
for i = 14, 13 + days do redis.call('UNLINK', KEYS[i]) end
for i = 7 + days, #ARGV do redis.call('HDEL', EPOCHS, ARGV[i]) end
for i = 14 + days, #KEYS do
  redis.call('UNLINK', KEYS[i])
  redis.call('SREM', BLOBS, KEYS[i])
end
if ARGV[4] ~= '' then
  -- Trimmed, never deleted: a stream that is deleted would take the same ids again.
  redis.call('XTRIM', STEPS, 'MINID', ARGV[4])
  redis.call('XTRIM', COMMITS, 'MINID', ARGV[5])
  head.steps_from = ARGV[4]
  head.journal_kept = text(tonumber(head.journal_kept) - journaled)
  write_head(head)
end
return {'ok'}
