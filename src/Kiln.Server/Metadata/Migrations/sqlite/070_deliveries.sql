-- What others are to be told, written with what happened, in the same transaction, and removed once they have heard it
-- (docs/adr/0070-outbox.md).

-- Whom: webhook:NAME of the configuration, hook:ID of a repository.
CREATE TABLE delivery_targets (
    id         TEXT PRIMARY KEY,
    address    TEXT NOT NULL,               -- another one than before is a new beginning
    not_before INTEGER NOT NULL DEFAULT 0,   -- nothing is sent before that
    failing    INTEGER,                      -- since when nothing has come through
    stopped    INTEGER,                      -- since when it wants nothing any more (410)
    error      TEXT
) WITHOUT ROWID;

CREATE TABLE deliveries (
    target   TEXT NOT NULL REFERENCES delivery_targets (id),
    id       TEXT NOT NULL,                  -- of the event
    body     BLOB NOT NULL,                  -- the event, as it is sent
    created  INTEGER NOT NULL,
    due      INTEGER NOT NULL,               -- the next try; while one is under way, when it counts as lost
    attempts INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER,
    error    TEXT,
    PRIMARY KEY (target, id)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (target, due) WHERE given_up IS NULL;
CREATE INDEX deliveries_given_up ON deliveries (target, given_up) WHERE given_up IS NOT NULL;
