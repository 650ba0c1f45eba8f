-- What is stored where: names and links here, bytes in the blob store. A row is written only after its bytes are durable.

CREATE TABLE repositories (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL                 -- Unix milliseconds, as every time in this database
);

-- Bytes that are durable in the blob store.
CREATE TABLE blobs (
    digest  TEXT PRIMARY KEY,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID;

-- Which repository may see which blob: a blob in A is 404 in B until pushed or mounted there (distribution-spec 1.1.1).
CREATE TABLE repository_blobs (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest     TEXT NOT NULL REFERENCES blobs (digest),
    created    INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest);

-- Manifests, byte for byte.
CREATE TABLE manifests (
    repository    INTEGER NOT NULL REFERENCES repositories (id),
    digest        TEXT NOT NULL,
    media_type    TEXT NOT NULL,
    artifact_type TEXT,                      -- as the referrers API reports it
    subject       TEXT,                      -- digest of the subject, where there is one
    annotations   TEXT,                      -- JSON object
    content       BLOB NOT NULL,
    created       INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;

-- What a manifest points at, for deletion checks and garbage collection. kind: config, layer, manifest.
CREATE TABLE manifest_references (
    repository INTEGER NOT NULL,
    manifest   TEXT NOT NULL,
    digest     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, digest, kind)
) WITHOUT ROWID;
CREATE INDEX manifest_references_by_digest ON manifest_references (repository, digest);

CREATE TABLE tags (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    updated    INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository, digest);

-- Blob uploads under way. The bytes so far are in the blob store's staging under the same id.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    algorithm  TEXT NOT NULL,
    created    INTEGER NOT NULL,
    updated    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_updated ON uploads (updated);
