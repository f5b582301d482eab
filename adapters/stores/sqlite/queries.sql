-- What the store asks its file for. `name` is the namespace, always the first value.

-- head: How far a namespace has come; files of version 1 have no journal.
SELECT seal, number, step, digest, epoch, steps_from, signals, documents, facts,
    journal, journal_kept
FROM heads WHERE name = ?

-- begin: A head for a namespace that has none.
INSERT OR IGNORE INTO heads (name) VALUES (?)

-- set_head: How far a namespace has come, sealed, by a commit or by what it dropped.
UPDATE heads SET number = ?, step = ?, digest = ?, epoch = ?, steps_from = ?, signals = ?,
    documents = ?, facts = ?, journal = ?, journal_kept = ?, seal = ?
WHERE name = ?

-- fence: The last fencing token that was given out.
SELECT fence FROM heads WHERE name = ?

-- raise_fence: A token higher than any before, for who takes the lease.
UPDATE heads SET fence = fence + 1 WHERE name = ?

-- lease: Who may write, and what shows that it lives.
SELECT fence, beat, token, holder FROM leases WHERE name = ?

-- take_lease: From whoever had it.
REPLACE INTO leases (name, fence, beat, token, holder) VALUES (?, ?, ?, ?, ?)

-- beat: The heartbeat: who holds the lease lives. A clock that is put back stops no heart.
UPDATE leases SET beat = max(beat + 1, ?) WHERE name = ?

-- give_back_lease: Anybody may take it at once.
DELETE FROM leases WHERE name = ?

-- facts: The run's small facts.
SELECT key, value, crc FROM facts WHERE name = ?

-- add_facts: One that is new; an older one of the same key stays.
INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?)

-- replace_facts: One in place of an older one of the same key.
REPLACE INTO facts VALUES (?, ?, ?, ?)

-- digest: Of a commit, to tell whether one that is sent again is the same.
SELECT digest FROM commits WHERE name = ? AND number = ?

-- add_commit: That a commit is there.
INSERT INTO commits VALUES (?, ?, ?)

-- drop_commits: Those before the oldest snapshot that is kept.
DELETE FROM commits WHERE name = ? AND number < ?

-- manifest: What a snapshot consists of.
SELECT manifest FROM epochs WHERE name = ? AND number = ?

-- manifests: Of all snapshots.
SELECT number, manifest FROM epochs WHERE name = ?

-- add_epoch: A snapshot.
INSERT INTO epochs VALUES (?, ?, ?)

-- drop_epoch: A snapshot that is too old.
DELETE FROM epochs WHERE name = ? AND number = ?

-- blob: One actor's state.
SELECT body FROM blobs WHERE name = ? AND actor = ? AND key = ?

-- blobs: Which states there are.
SELECT actor, key FROM blobs WHERE name = ?

-- add_blob: One actor's state, which later snapshots may share.
INSERT INTO blobs VALUES (?, ?, ?, ?)

-- drop_blob: A state that no snapshot has any more.
DELETE FROM blobs WHERE name = ? AND actor = ? AND key = ?

-- steps: A page of the step log: an entry has the number of its last step.
SELECT number, first, market_ns, grant, digest, trading_date, crc FROM steps
WHERE name = ? AND number > ? ORDER BY number LIMIT ?

-- first_step: Of a day and those after it.
SELECT coalesce(first, number) FROM steps WHERE name = ? AND trading_date >= ?
ORDER BY number LIMIT 1

-- add_step: One entry of the step log.
INSERT INTO steps (name, number, first, market_ns, grant, digest, trading_date, crc)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- last_steps: How many steps entries of the step log have, newest first, and their days.
SELECT number, number + 1 - coalesce(first, number), trading_date FROM steps
WHERE name = ? ORDER BY number DESC LIMIT ?

-- drop_joined_steps: What another entry says now.
DELETE FROM steps WHERE name = ? AND number >= ?

-- drop_steps: Those of days that are too old.
DELETE FROM steps WHERE name = ? AND number < ?

-- journal: A page of what was journaled for a day, but for what came with steps up to one.
SELECT position, trading_date, entry, body, crc, step FROM journal
WHERE name = ? AND trading_date = ? AND position > ? AND coalesce(step, 9e18) > ?
    AND entry >= ? AND entry < ?
ORDER BY position LIMIT ?

-- last_journal: Sizes of what was journaled with single steps of a day, newest first.
SELECT position, length(body) FROM journal
WHERE name = ? AND trading_date = ? AND step IS NOT NULL AND entry >= ? AND entry < ?
ORDER BY position DESC LIMIT ?

-- journal_between: What was journaled with single steps of a day, between two positions.
SELECT trading_date, entry, body, crc, step FROM journal
WHERE name = ? AND trading_date = ? AND step IS NOT NULL AND entry >= ? AND entry < ?
    AND position >= ? AND position <= ?
ORDER BY position

-- drop_joined_journal: What another entry says now.
DELETE FROM journal
WHERE name = ? AND trading_date = ? AND step IS NOT NULL AND entry >= ? AND entry < ?
    AND position >= ? AND position <= ?

-- count_journal: How many entries a day has, found by another index than they are read with.
SELECT count(*) FROM journal NOT INDEXED WHERE name = ? AND trading_date = ?

-- count_journal_by_date: How many entries a day has, found as they are read.
SELECT count(*) FROM journal INDEXED BY journal_by_date WHERE name = ? AND trading_date = ?

-- add_journal: Something that can't be asked for again.
INSERT INTO journal (name, position, trading_date, entry, body, crc, step)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- drop_journal: Of days that are too old.
DELETE FROM journal WHERE name = ? AND trading_date < ?

-- documents: Of one day, or of all; each other value may be NULL, and then says nothing.
SELECT trading_date, session, status, completed_ns, body, crc, place FROM documents
WHERE name = ?1 AND trading_date >= coalesce(?2, '') AND trading_date <= coalesce(?2, '~')
    AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR session = ?4)
    AND (?5 IS NULL OR completed_ns >= ?5) AND (?6 IS NULL OR completed_ns < ?6)

-- documents_of_status: Of all days; found by when they were completed.
SELECT trading_date, session, status, completed_ns, body, crc, place FROM documents
WHERE name = ?1 AND ?2 IS NULL AND status = ?3 AND (?4 IS NULL OR session = ?4)
    AND (?5 IS NULL OR completed_ns >= ?5) AND (?6 IS NULL OR completed_ns < ?6)

-- add_documents: One that is new; an older one of the same session stays.
INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- replace_documents: One in place of an older one of the same session.
REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- signals: A page of the log's blocks, from a place in it on.
SELECT number, seq, count, trading_date, packed, crc FROM signals
WHERE name = ? AND (number, seq) >= (?, ?) ORDER BY number, seq LIMIT ?

-- signals_of_day: A page of one day's blocks, from a place in the log on.
SELECT number, seq, count, trading_date, packed, crc FROM signals
WHERE name = ? AND (number, seq) >= (?, ?) AND trading_date = ? ORDER BY number, seq LIMIT ?

-- block: Where the block begins that has a signal.
SELECT seq FROM signals WHERE name = ? AND number = ? AND seq <= ? AND seq + count > ?

-- blocks_of_day: All of one day's blocks.
SELECT number, seq, count, trading_date, packed, crc FROM signals
WHERE name = ? AND trading_date = ?

-- add_signals: A block of the log.
INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?, ?)

-- count_signals: How many the log has.
SELECT coalesce(sum(count), 0) FROM signals WHERE name = ?

-- audit: A page of the audit trail.
SELECT position, entry, crc FROM audit WHERE name = ? AND position > ? ORDER BY position LIMIT ?

-- last_audit: The position of its last entry.
SELECT audit FROM heads WHERE name = ?

-- raise_audit: By as many entries as follow.
UPDATE heads SET audit = audit + ? WHERE name = ?

-- add_audit: An entry of the audit trail.
INSERT INTO audit VALUES (?, ?, ?, ?)

-- commands: What was asked of who holds the lease, oldest first.
SELECT command FROM commands WHERE name = ? ORDER BY id

-- add_command: For who holds the lease.
INSERT INTO commands (name, command) VALUES (?, ?)

-- drop_commands: They were taken.
DELETE FROM commands WHERE name = ?

-- any: Whether a table has anything of a namespace.
SELECT 1 FROM {table} WHERE name = ? LIMIT 1

-- count: How many rows a table has of a namespace.
SELECT count(*) FROM {table} WHERE name = ?

-- size: The bytes of a table's rows of a namespace, nearly.
SELECT sum(length({column})) FROM {table} WHERE name = ?

-- clear: Nothing of a namespace stays in a table.
DELETE FROM {table} WHERE name = ?

-- make_beside: Not in schema.sql: to an older program, which knows nothing of it, it does no harm.
CREATE TABLE IF NOT EXISTS beside (
    name TEXT, key TEXT, body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, key)
) WITHOUT ROWID

-- has_beside: Whether anything ever was.
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'beside'

-- beside: What is kept beside the commits, between two keys.
SELECT key, body, crc FROM beside WHERE name = ? AND key >= ? AND key < ? ORDER BY key

-- keep_beside: In place of what the key had.
REPLACE INTO beside VALUES (?, ?, ?, ?)

-- drop_beside: What a key had.
DELETE FROM beside WHERE name = ? AND key = ?

-- last_block: The last signals of the log.
SELECT number, seq, count FROM signals WHERE name = ? ORDER BY number DESC, seq DESC LIMIT 1
