-- As sqlite/080_leases.sql.
-- Every lease that was given, also after it is over: whoever repeats a claim or a result, or comes too late with a word,
-- gets the right answer. Rows go some days after they were written.
CREATE TABLE leases (
    id           TEXT COLLATE "C" PRIMARY KEY,
    execution    TEXT COLLATE "C" NOT NULL,
    job          TEXT COLLATE "C" NOT NULL,              -- under which the lease's address is
    task         TEXT COLLATE "C" NOT NULL,              -- that job's task: t1, t2, …
    principal    TEXT COLLATE "C" NOT NULL,              -- whose credential claimed it
    node         TEXT COLLATE "C" NOT NULL,              -- what the node calls itself
    secret_hash  TEXT COLLATE "C" UNIQUE,                -- SHA-256 of the lease's credential, in hex; null for the server's own node
    seconds      BIGINT NOT NULL,           -- how long it lives after each sign of life
    claim_key    TEXT COLLATE "C",                       -- Idempotency-Key of the claim
    claim_hash   TEXT COLLATE "C",                       -- SHA-256 of the claim that came with it
    log_received BIGINT NOT NULL DEFAULT 0, -- bytes of log that came under this lease
    log_last     TEXT COLLATE "C",                       -- "START-END SHA-256" of the last piece, so that its repetition is known
    log_held     BYTEA,                       -- what may be the beginning of a secret, encrypted; not in the log yet
    created      BIGINT NOT NULL
);
CREATE UNIQUE INDEX leases_by_claim ON leases (principal, claim_key) WHERE claim_key IS NOT NULL;
CREATE INDEX leases_by_created ON leases (created);

-- Build nodes elsewhere, as their claims tell of them.
CREATE TABLE nodes (
    principal TEXT COLLATE "C" NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    document  TEXT COLLATE "C" NOT NULL,                 -- JSON of LeaseClaim
    personal  BIGINT NOT NULL,              -- builds its principal's own jobs only
    seen      BIGINT NOT NULL,
    PRIMARY KEY (principal, name)
);

-- Whose own node builds it, or has built it: nobody else may share it.
ALTER TABLE executions ADD COLUMN private_to TEXT COLLATE "C";
-- The network that it asks for; '' where any will do.
ALTER TABLE executions ADD COLUMN network TEXT COLLATE "C" NOT NULL DEFAULT '';
-- How often a node gave it back.
ALTER TABLE executions ADD COLUMN returns BIGINT NOT NULL DEFAULT 0;
-- The lease into whose staging area an upload goes; null where it goes into the repository.
ALTER TABLE uploads ADD COLUMN lease TEXT COLLATE "C";
-- When it was pushed to the lease's staging tag; null where it was pushed by its digest.
ALTER TABLE lease_manifests ADD COLUMN tagged BIGINT;
