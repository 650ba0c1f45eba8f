-- What the repositories of a quota's patterns hold together, kept up to date by the transactions that change it.
CREATE TABLE quota_scopes (
    scope        TEXT PRIMARY KEY,            -- the patterns
    bytes        INTEGER NOT NULL,
    tags         INTEGER NOT NULL,
    repositories INTEGER NOT NULL             -- with a manifest
) WITHOUT ROWID;

-- Manifests of a scope, and what they refer to.
CREATE TABLE quota_items (
    scope  TEXT NOT NULL REFERENCES quota_scopes (scope),
    digest TEXT NOT NULL,
    size   INTEGER NOT NULL,                  -- 0 while the blob was never pushed
    uses   INTEGER NOT NULL,                  -- manifests that are it or refer to it
    PRIMARY KEY (scope, digest)
) WITHOUT ROWID;
