-- Every lease that was given, also after it is over: whoever repeats a claim or a result, or comes too late with a word,
-- gets the right answer. Rows go some days after they were written.
CREATE TABLE leases (
    id           TEXT PRIMARY KEY,
    execution    TEXT NOT NULL,
    job          TEXT NOT NULL,              -- under which the lease's address is
    task         TEXT NOT NULL,              -- that job's task: t1, t2, …
    principal    TEXT NOT NULL,              -- whose credential claimed it
    node         TEXT NOT NULL,              -- what the node calls itself
    secret_hash  TEXT UNIQUE,                -- SHA-256 of the lease's credential, in hex; null for the server's own node
    seconds      INTEGER NOT NULL,           -- how long it lives after each sign of life
    claim_key    TEXT,                       -- Idempotency-Key of the claim
    claim_hash   TEXT,                       -- SHA-256 of the claim that came with it
    log_received INTEGER NOT NULL DEFAULT 0, -- bytes of log that came under this lease
    log_last     TEXT,                       -- "START-END SHA-256" of the last piece, so that its repetition is known
    log_held     BLOB,                       -- what may be the beginning of a secret, encrypted; not in the log yet
    created      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX leases_by_claim ON leases (principal, claim_key) WHERE claim_key IS NOT NULL;
CREATE INDEX leases_by_created ON leases (created);

-- Build nodes elsewhere, as their claims tell of them.
CREATE TABLE nodes (
    principal TEXT NOT NULL,
    name      TEXT NOT NULL,
    document  TEXT NOT NULL,                 -- JSON of LeaseClaim
    personal  INTEGER NOT NULL,              -- builds its principal's own jobs only
    seen      INTEGER NOT NULL,
    PRIMARY KEY (principal, name)
) WITHOUT ROWID;

-- Whose own node builds it, or has built it: nobody else may share it.
ALTER TABLE executions ADD COLUMN private_to TEXT;
-- The network that it asks for; '' where any will do.
ALTER TABLE executions ADD COLUMN network TEXT NOT NULL DEFAULT '';
-- How often a node gave it back.
ALTER TABLE executions ADD COLUMN returns INTEGER NOT NULL DEFAULT 0;
-- The lease into whose staging area an upload goes; null where it goes into the repository.
ALTER TABLE uploads ADD COLUMN lease TEXT;
-- When it was pushed to the lease's staging tag; null where it was pushed by its digest.
ALTER TABLE lease_manifests ADD COLUMN tagged INTEGER;
