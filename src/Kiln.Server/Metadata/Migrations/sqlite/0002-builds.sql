-- The build queue is this database. A job is one request; its targets subscribe to executions, which are what is
-- queued, leased and shared.

CREATE TABLE jobs (
    id            TEXT PRIMARY KEY,
    repository    INTEGER NOT NULL REFERENCES repositories (id),
    created_by    TEXT NOT NULL,
    trigger       TEXT NOT NULL,
    recipe_digest TEXT NOT NULL,             -- of the recipe artifact's manifest
    recipe_type   TEXT NOT NULL,
    tags          TEXT NOT NULL,             -- JSON array
    state         TEXT NOT NULL,
    reason        TEXT,
    message       TEXT,
    revision      INTEGER NOT NULL,
    cached        INTEGER NOT NULL DEFAULT 0,
    result        TEXT,                      -- JSON, once succeeded
    created       INTEGER NOT NULL,
    started       INTEGER,
    finished      INTEGER
) WITHOUT ROWID;
CREATE INDEX jobs_by_repository ON jobs (repository, id);
CREATE INDEX jobs_active ON jobs (repository, state) WHERE finished IS NULL;

CREATE TABLE job_tasks (
    job             TEXT NOT NULL REFERENCES jobs (id),
    ordinal         INTEGER NOT NULL,
    platform        TEXT NOT NULL,
    microarchitecture TEXT,
    format          TEXT NOT NULL,
    execution       TEXT NOT NULL REFERENCES executions (id),
    shared          INTEGER NOT NULL,        -- another job had started the execution
    cached          INTEGER NOT NULL,        -- it was finished already
    departed        INTEGER NOT NULL DEFAULT 0, -- the job was cancelled and no longer waits for it
    PRIMARY KEY (job, ordinal)
) WITHOUT ROWID;
CREATE INDEX job_tasks_by_execution ON job_tasks (execution);

CREATE TABLE executions (
    id              TEXT PRIMARY KEY,
    repository      INTEGER NOT NULL REFERENCES repositories (id),
    key             TEXT NOT NULL,
    shareable       INTEGER NOT NULL,        -- 0 with secrets or without cache: never joined, never reused
    requested_by    TEXT NOT NULL,
    platform        TEXT NOT NULL,           -- what a claim selects on
    recipe_type     TEXT NOT NULL,
    format          TEXT NOT NULL,
    task            TEXT NOT NULL,           -- JSON of LeaseTask, without secret values
    state           TEXT NOT NULL,
    reason          TEXT,
    message         TEXT,
    exit_code       INTEGER,
    phase           TEXT,
    progress        TEXT,
    steps           TEXT,                    -- JSON
    confinement     TEXT,                    -- JSON
    dependencies    TEXT,                    -- JSON
    hints           TEXT,                    -- JSON
    attempt         INTEGER NOT NULL DEFAULT 0,
    node            TEXT,
    lease           TEXT,                    -- the fencing token; null when nobody holds it
    lease_expires   INTEGER,
    lease_local     INTEGER NOT NULL DEFAULT 0, -- held by this server's own node: lost when the server is
    result_lease    TEXT,                    -- the lease under which the accepted result came
    result_hash     TEXT,                    -- of that result, so that its repetition is told from another one
    cancel          INTEGER NOT NULL DEFAULT 0,
    manifest        TEXT,                    -- JSON descriptor of the product
    manifest_digest TEXT,                    -- the same one's digest, for looking it up
    log_size        INTEGER NOT NULL DEFAULT 0,
    log_truncated   INTEGER NOT NULL DEFAULT 0,
    queued          INTEGER NOT NULL,
    not_before      INTEGER NOT NULL DEFAULT 0,
    queue_deadline  INTEGER NOT NULL,
    started         INTEGER,
    finished        INTEGER
) WITHOUT ROWID;
CREATE INDEX executions_queue ON executions (state, queued) WHERE finished IS NULL;
CREATE INDEX executions_running ON executions (requested_by, state) WHERE finished IS NULL;
CREATE INDEX executions_by_key ON executions (repository, key, finished);

-- One append-only stream per execution over all attempts; offsets never go back.
CREATE TABLE log_segments (
    execution TEXT NOT NULL REFERENCES executions (id),
    start     INTEGER NOT NULL,
    content   BLOB NOT NULL,
    PRIMARY KEY (execution, start)
) WITHOUT ROWID;

-- What a lease has pushed and no one else may see yet.
CREATE TABLE lease_blobs (
    lease  TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (lease, digest)
) WITHOUT ROWID;
CREATE TABLE lease_manifests (
    lease      TEXT NOT NULL,
    digest     TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content    BLOB NOT NULL,
    PRIMARY KEY (lease, digest)
) WITHOUT ROWID;

-- Secrets for one job each: encrypted, write-only, deleted at the job's end.
CREATE TABLE secrets (
    id         TEXT PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    created_by TEXT NOT NULL,
    job        TEXT,
    name       TEXT,                         -- the id that the recipe uses
    ciphertext BLOB NOT NULL,                -- AES-256-GCM: nonce, tag, text
    created    INTEGER NOT NULL
);
CREATE INDEX secrets_by_job ON secrets (job);

-- What reading a layer once told: facts for hints, by the layer's digest (LayerFacts, packed; empty where the blob is
-- no layer that can be read).
CREATE TABLE layer_facts (
    digest TEXT PRIMARY KEY,
    facts  BLOB NOT NULL
);

-- Tree digests of build contexts, by blob digest and stripped components.
CREATE TABLE context_trees (
    digest TEXT NOT NULL,
    strip  INTEGER NOT NULL,
    tree   TEXT NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (digest, strip)
) WITHOUT ROWID;
