-- As sqlite/0002-builds.sql.
-- The build queue is this database. A job is one request; its targets subscribe to executions, which are what is
-- queued, leased and shared.

CREATE TABLE jobs (
    id            TEXT COLLATE "C" PRIMARY KEY,
    repository    BIGINT NOT NULL REFERENCES repositories (id),
    created_by    TEXT COLLATE "C" NOT NULL,
    trigger       TEXT COLLATE "C" NOT NULL,
    recipe_digest TEXT COLLATE "C" NOT NULL,             -- of the recipe artifact's manifest
    recipe_type   TEXT COLLATE "C" NOT NULL,
    tags          TEXT COLLATE "C" NOT NULL,             -- JSON array
    state         TEXT COLLATE "C" NOT NULL,
    reason        TEXT COLLATE "C",
    message       TEXT COLLATE "C",
    revision      BIGINT NOT NULL,
    cached        BIGINT NOT NULL DEFAULT 0,
    result        TEXT COLLATE "C",                      -- JSON, once succeeded
    created       BIGINT NOT NULL,
    started       BIGINT,
    finished      BIGINT
);
CREATE INDEX jobs_by_repository ON jobs (repository, id);
CREATE INDEX jobs_active ON jobs (repository, state) WHERE finished IS NULL;

CREATE TABLE executions (
    id              TEXT COLLATE "C" PRIMARY KEY,
    repository      BIGINT NOT NULL REFERENCES repositories (id),
    key             TEXT COLLATE "C" NOT NULL,
    shareable       BIGINT NOT NULL,        -- 0 with secrets or without cache: never joined, never reused
    requested_by    TEXT COLLATE "C" NOT NULL,
    platform        TEXT COLLATE "C" NOT NULL,           -- what a claim selects on
    recipe_type     TEXT COLLATE "C" NOT NULL,
    format          TEXT COLLATE "C" NOT NULL,
    task            TEXT COLLATE "C" NOT NULL,           -- JSON of LeaseTask, without secret values
    state           TEXT COLLATE "C" NOT NULL,
    reason          TEXT COLLATE "C",
    message         TEXT COLLATE "C",
    exit_code       BIGINT,
    phase           TEXT COLLATE "C",
    progress        TEXT COLLATE "C",
    steps           TEXT COLLATE "C",                    -- JSON
    confinement     TEXT COLLATE "C",                    -- JSON
    dependencies    TEXT COLLATE "C",                    -- JSON
    hints           TEXT COLLATE "C",                    -- JSON
    attempt         BIGINT NOT NULL DEFAULT 0,
    node            TEXT COLLATE "C",
    lease           TEXT COLLATE "C",                    -- the fencing token; null when nobody holds it
    lease_expires   BIGINT,
    lease_local     BIGINT NOT NULL DEFAULT 0, -- held by this server's own node: lost when the server is
    result_lease    TEXT COLLATE "C",                    -- the lease under which the accepted result came
    result_hash     TEXT COLLATE "C",                    -- of that result, so that its repetition is told from another one
    cancel          BIGINT NOT NULL DEFAULT 0,
    manifest        TEXT COLLATE "C",                    -- JSON descriptor of the product
    manifest_digest TEXT COLLATE "C",                    -- the same one's digest, for looking it up
    log_size        BIGINT NOT NULL DEFAULT 0,
    log_truncated   BIGINT NOT NULL DEFAULT 0,
    queued          BIGINT NOT NULL,
    not_before      BIGINT NOT NULL DEFAULT 0,
    queue_deadline  BIGINT NOT NULL,
    started         BIGINT,
    finished        BIGINT
);
CREATE INDEX executions_queue ON executions (state, queued) WHERE finished IS NULL;
CREATE INDEX executions_running ON executions (requested_by, state) WHERE finished IS NULL;
CREATE INDEX executions_by_key ON executions (repository, key, finished);

CREATE TABLE job_tasks (
    job             TEXT COLLATE "C" NOT NULL REFERENCES jobs (id),
    ordinal         BIGINT NOT NULL,
    platform        TEXT COLLATE "C" NOT NULL,
    microarchitecture TEXT COLLATE "C",
    format          TEXT COLLATE "C" NOT NULL,
    execution       TEXT COLLATE "C" NOT NULL REFERENCES executions (id),
    shared          BIGINT NOT NULL,        -- another job had started the execution
    cached          BIGINT NOT NULL,        -- it was finished already
    departed        BIGINT NOT NULL DEFAULT 0, -- the job was cancelled and no longer waits for it
    PRIMARY KEY (job, ordinal)
);
CREATE INDEX job_tasks_by_execution ON job_tasks (execution);

-- One append-only stream per execution over all attempts; offsets never go back.
CREATE TABLE log_segments (
    execution TEXT COLLATE "C" NOT NULL REFERENCES executions (id),
    start     BIGINT NOT NULL,
    content   BYTEA NOT NULL,
    PRIMARY KEY (execution, start)
);

-- What a lease has pushed and no one else may see yet.
CREATE TABLE lease_blobs (
    lease  TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (lease, digest)
);
CREATE TABLE lease_manifests (
    lease      TEXT COLLATE "C" NOT NULL,
    digest     TEXT COLLATE "C" NOT NULL,
    media_type TEXT COLLATE "C" NOT NULL,
    content    BYTEA NOT NULL,
    PRIMARY KEY (lease, digest)
);

-- Secrets for one job each: encrypted, write-only, deleted at the job's end.
CREATE TABLE secrets (
    id         TEXT COLLATE "C" PRIMARY KEY,
    repository BIGINT NOT NULL REFERENCES repositories (id),
    created_by TEXT COLLATE "C" NOT NULL,
    job        TEXT COLLATE "C",
    name       TEXT COLLATE "C",                         -- the id that the recipe uses
    ciphertext BYTEA NOT NULL,                -- AES-256-GCM: nonce, tag, text
    created    BIGINT NOT NULL
);
CREATE INDEX secrets_by_job ON secrets (job);

-- What reading a layer once told: facts for hints, by the layer's digest (LayerFacts, packed; empty where the blob is
-- no layer that can be read).
CREATE TABLE layer_facts (
    digest TEXT COLLATE "C" PRIMARY KEY,
    facts  BYTEA NOT NULL
);

-- Tree digests of build contexts, by blob digest and stripped components.
CREATE TABLE context_trees (
    digest TEXT COLLATE "C" NOT NULL,
    strip  BIGINT NOT NULL,
    tree   TEXT COLLATE "C" NOT NULL,
    bytes  BIGINT NOT NULL,
    PRIMARY KEY (digest, strip)
);
