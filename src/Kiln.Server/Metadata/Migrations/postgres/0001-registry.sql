-- As sqlite/0001-registry.sql; the same names in the same order. COLLATE "C": byte order, which pages go by.
-- What is stored where: names and links here, bytes in the blob store. A row is written only after its bytes are durable.

CREATE TABLE repositories (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    TEXT COLLATE "C" NOT NULL UNIQUE,
    created BIGINT NOT NULL                 -- Unix milliseconds, as every time in this database
);

-- Bytes that are durable in the blob store.
CREATE TABLE blobs (
    digest  TEXT COLLATE "C" PRIMARY KEY,
    size    BIGINT NOT NULL,
    created BIGINT NOT NULL
);

-- Which repository may see which blob: a blob in A is 404 in B until pushed or mounted there (distribution-spec 1.1.1).
CREATE TABLE repository_blobs (
    repository BIGINT NOT NULL REFERENCES repositories (id),
    digest     TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest),
    created    BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest);

-- Manifests, byte for byte.
CREATE TABLE manifests (
    repository    BIGINT NOT NULL REFERENCES repositories (id),
    digest        TEXT COLLATE "C" NOT NULL,
    media_type    TEXT COLLATE "C" NOT NULL,
    artifact_type TEXT COLLATE "C",                      -- as the referrers API reports it
    subject       TEXT COLLATE "C",                      -- digest of the subject, where there is one
    annotations   TEXT COLLATE "C",                      -- JSON object
    content       BYTEA NOT NULL,
    created       BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;

-- What a manifest points at, for deletion checks and garbage collection. kind: config, layer, manifest.
CREATE TABLE manifest_references (
    repository BIGINT NOT NULL,
    manifest   TEXT COLLATE "C" NOT NULL,
    digest     TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (repository, manifest, digest, kind)
);
CREATE INDEX manifest_references_by_digest ON manifest_references (repository, digest);

CREATE TABLE tags (
    repository BIGINT NOT NULL REFERENCES repositories (id),
    name       TEXT COLLATE "C" NOT NULL,
    digest     TEXT COLLATE "C" NOT NULL,
    updated    BIGINT NOT NULL,
    PRIMARY KEY (repository, name)
);
CREATE INDEX tags_by_digest ON tags (repository, digest);

-- Blob uploads under way. The bytes so far are in the blob store's staging under the same id.
CREATE TABLE uploads (
    id         TEXT COLLATE "C" PRIMARY KEY,
    repository BIGINT NOT NULL REFERENCES repositories (id),
    algorithm  TEXT COLLATE "C" NOT NULL,
    created    BIGINT NOT NULL,
    updated    BIGINT NOT NULL
);
CREATE INDEX uploads_by_updated ON uploads (updated);
