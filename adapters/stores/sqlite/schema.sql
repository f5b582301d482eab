-- The tables of a namespace, for all namespaces of a file.

-- tables: What a new file has.
CREATE TABLE heads (
    name TEXT PRIMARY KEY, fence INTEGER NOT NULL DEFAULT 0, audit INTEGER NOT NULL DEFAULT 0,
    number INTEGER NOT NULL DEFAULT 0, step INTEGER NOT NULL DEFAULT 0,
    digest BLOB NOT NULL DEFAULT x'', epoch INTEGER NOT NULL DEFAULT 0,
    steps_from INTEGER NOT NULL DEFAULT 1, signals INTEGER NOT NULL DEFAULT 0,
    documents INTEGER NOT NULL DEFAULT 0, facts INTEGER NOT NULL DEFAULT 0,
    seal INTEGER NOT NULL DEFAULT 0, journal INTEGER NOT NULL DEFAULT 0,
    journal_kept INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE leases (
    name TEXT PRIMARY KEY, fence INTEGER NOT NULL, beat INTEGER NOT NULL, token TEXT NOT NULL,
    holder BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE facts (
    name TEXT, key TEXT, value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE TABLE commits (
    name TEXT, number INTEGER, digest BLOB NOT NULL, PRIMARY KEY (name, number)
) WITHOUT ROWID;
CREATE TABLE epochs (
    name TEXT, number INTEGER, manifest BLOB NOT NULL, PRIMARY KEY (name, number)
);
CREATE TABLE blobs (
    name TEXT, actor TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (name, actor, key)
);
CREATE TABLE steps (
    name TEXT, number INTEGER, market_ns INTEGER NOT NULL, grant BLOB NOT NULL,
    digest BLOB NOT NULL, trading_date TEXT NOT NULL, crc INTEGER NOT NULL, first INTEGER,
    PRIMARY KEY (name, number)
);
CREATE TABLE documents (
    name TEXT, trading_date TEXT, session TEXT, status TEXT NOT NULL, completed_ns INTEGER,
    body BLOB NOT NULL, crc INTEGER NOT NULL, place INTEGER,
    PRIMARY KEY (name, trading_date, session)
);
CREATE INDEX documents_by_status ON documents (name, trading_date, status);
CREATE INDEX documents_by_completion ON documents (name, status, completed_ns);
CREATE TABLE signals (
    name TEXT, number INTEGER, seq INTEGER, count INTEGER NOT NULL, trading_date TEXT NOT NULL,
    packed BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, number, seq)
);
CREATE INDEX signals_by_date ON signals (name, trading_date, number, seq);
CREATE TABLE audit (
    name TEXT, position INTEGER, entry BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (name, position)
);
CREATE TABLE commands (id INTEGER PRIMARY KEY, name TEXT NOT NULL, command BLOB NOT NULL);
CREATE TABLE journal (
    name TEXT, position INTEGER, trading_date TEXT NOT NULL, entry TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL, step INTEGER, PRIMARY KEY (name, position)
);
CREATE INDEX journal_by_date ON journal (name, trading_date, position, step);

-- from_1: What a file of version 1 lacks that version 2 has.
ALTER TABLE heads ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heads ADD COLUMN journal_kept INTEGER NOT NULL DEFAULT 0;
CREATE TABLE journal (
    name TEXT, position INTEGER, trading_date TEXT NOT NULL, entry TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, position)
);
CREATE INDEX journal_by_date ON journal (name, trading_date, position);

-- from_2: What a file of version 2 lacks that version 3 has.
ALTER TABLE documents ADD COLUMN place INTEGER;

-- from_3: Signals and documents of version 4 are columns; those before stay as they are.

-- from_4: What a file of version 4 lacks that version 5 has: entries of several steps, and the step
-- from which on an entry of the journal is not needed any more.
ALTER TABLE steps ADD COLUMN first INTEGER;
ALTER TABLE journal ADD COLUMN step INTEGER;
DROP INDEX journal_by_date;
CREATE INDEX journal_by_date ON journal (name, trading_date, position, step);

-- from_5: Version 6 writes rows of kinds that version 5 can't read, in the same tables.
