-- Drops what pruning found dispensable, if nothing was committed since it looked.
-- KEYS[13…]: states. ARGV, after fence and token: the commit it looked at, the first step to keep
-- ('' to keep all), the first commit whose digest is kept, then the epochs that go.
if ARGV[3] ~= head.commit then return {'CHANGED'} end
for i = 6, #ARGV do redis.call('HDEL', EPOCHS, ARGV[i]) end
for i = 13, #KEYS do
  redis.call('UNLINK', KEYS[i])
  redis.call('SREM', BLOBS, KEYS[i])
end
if ARGV[4] ~= '' then
  -- Trimmed, never deleted: a stream that is deleted would take the same ids again.
  redis.call('XTRIM', STEPS, 'MINID', ARGV[4])
  redis.call('XTRIM', COMMITS, 'MINID', ARGV[5])
  head.steps_from = ARGV[4]
  write_head(head)
end
return {'ok'}
