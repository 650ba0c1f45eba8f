-- As sqlite/050_journal.sql.
-- What the journal does not have yet: written with each change, in the same transaction, and removed once the journal has
-- it (docs/adr/0050).
CREATE TABLE journal_outbox (
    id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry TEXT COLLATE "C" NOT NULL          -- JSON of JournalEntry
);

-- Who writes the journal, and how far it is. One row.
CREATE TABLE journal_state (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    holder   TEXT COLLATE "C" NOT NULL,
    expires  BIGINT NOT NULL,                -- of the holder's lease, Unix milliseconds
    epoch    BIGINT NOT NULL,                -- counts the holders; a part of segments' names
    sequence BIGINT NOT NULL                 -- number of the next line
);
INSERT INTO journal_state (id, holder, expires, epoch, sequence) VALUES (1, '', 0, 0, 1);

-- The bytes of a manifest are a blob as well, which stays as long as one repository has the manifest.
CREATE INDEX manifests_by_digest ON manifests (digest);
