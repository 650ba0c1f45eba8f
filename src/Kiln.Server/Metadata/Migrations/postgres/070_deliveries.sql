-- As sqlite/070_deliveries.sql.
-- What others are to be told, written with what happened, in the same transaction, and removed once they have heard it
-- (docs/adr/0070-outbox.md).

-- Whom: webhook:NAME of the configuration, hook:ID of a repository.
CREATE TABLE delivery_targets (
    id         TEXT COLLATE "C" PRIMARY KEY,
    address    TEXT COLLATE "C" NOT NULL,               -- another one than before is a new beginning
    not_before BIGINT NOT NULL DEFAULT 0,   -- nothing is sent before that
    failing    BIGINT,                      -- since when nothing has come through
    stopped    BIGINT,                      -- since when it wants nothing any more (410)
    error      TEXT
);

CREATE TABLE deliveries (
    target   TEXT COLLATE "C" NOT NULL REFERENCES delivery_targets (id),
    id       TEXT COLLATE "C" NOT NULL,                  -- of the event
    body     BYTEA NOT NULL,                  -- the event, as it is sent
    created  BIGINT NOT NULL,
    due      BIGINT NOT NULL,               -- the next try; while one is under way, when it counts as lost
    attempts BIGINT NOT NULL DEFAULT 0,
    given_up BIGINT,
    error    TEXT,
    PRIMARY KEY (target, id)
);
CREATE INDEX deliveries_due ON deliveries (target, due) WHERE given_up IS NULL;
CREATE INDEX deliveries_given_up ON deliveries (target, given_up) WHERE given_up IS NOT NULL;
