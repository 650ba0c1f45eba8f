-- What came from an upstream registry, and when somebody last wanted it: it can be had again, so garbage collection may
-- let it go. A manifest without a row here was pushed. (The blobs of one that has a row may be missing.)
CREATE TABLE upstream_manifests (
    repository INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    fetched    INTEGER NOT NULL,             -- Unix milliseconds
    used       INTEGER NOT NULL,             -- the last pull, to within an hour
    PRIMARY KEY (repository, digest),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX upstream_manifests_by_used ON upstream_manifests (used);

-- When an upstream last said where its tag points.
CREATE TABLE upstream_tags (
    repository INTEGER NOT NULL,
    name       TEXT NOT NULL,
    checked    INTEGER NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, name) REFERENCES tags (repository, name) ON DELETE CASCADE
) WITHOUT ROWID;
