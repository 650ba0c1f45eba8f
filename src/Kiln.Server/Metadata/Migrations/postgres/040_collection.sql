-- As sqlite/040_collection.sql.
-- What the collector has its eye on (docs/adr/0040-collecting-while-serving.md). A row here is a warning: whoever uses
-- the thing again before its time is up takes the row away, in the transaction that uses it.

-- Blobs that a repository sees and no manifest of it refers to.
CREATE TABLE condemned_links (
    repository BIGINT NOT NULL REFERENCES repositories (id),
    digest     TEXT COLLATE "C" NOT NULL,
    since      BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);

-- Manifests that no tag, index, subject or build keeps.
CREATE TABLE condemned_manifests (
    repository BIGINT NOT NULL REFERENCES repositories (id),
    digest     TEXT COLLATE "C" NOT NULL,
    since      BIGINT NOT NULL,
    asked      BIGINT NOT NULL,             -- when a client was last told that it is there
    PRIMARY KEY (repository, digest)
);

-- Blobs that no repository sees. state: condemned (row and bytes are there), deleting (the row is gone, the bytes are on
-- their way out), deleted (they are gone; who stored them again at that moment has to look).
CREATE TABLE condemned_blobs (
    digest TEXT COLLATE "C" PRIMARY KEY,
    state  TEXT COLLATE "C" NOT NULL,
    since  BIGINT NOT NULL,
    sweep  TEXT COLLATE "C" NOT NULL,                    -- one try at deleting it
    owner  TEXT COLLATE "C" NOT NULL                     -- the server that does
);
CREATE INDEX condemned_blobs_by_state ON condemned_blobs (state, since);

-- What deleting asks for.
CREATE INDEX lease_blobs_by_digest ON lease_blobs (digest);
CREATE INDEX executions_by_product ON executions (repository, manifest_digest) WHERE manifest_digest IS NOT NULL;
CREATE INDEX jobs_by_recipe ON jobs (repository, recipe_digest);
CREATE INDEX secrets_by_repository ON secrets (repository);

-- When a server last began to collect by itself, so that of several that share this database one does.
CREATE TABLE collection_clock (
    id      BIGINT PRIMARY KEY,
    started BIGINT NOT NULL
);
INSERT INTO collection_clock (id, started) VALUES (1, 0);
