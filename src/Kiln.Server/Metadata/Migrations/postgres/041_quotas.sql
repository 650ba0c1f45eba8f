-- As sqlite/041_quotas.sql.
-- What the repositories of a quota's patterns hold together, kept up to date by the transactions that change it.
CREATE TABLE quota_scopes (
    scope        TEXT COLLATE "C" PRIMARY KEY,            -- the patterns
    bytes        BIGINT NOT NULL,
    tags         BIGINT NOT NULL,
    repositories BIGINT NOT NULL             -- with a manifest
);

-- Manifests of a scope, and what they refer to.
CREATE TABLE quota_items (
    scope  TEXT COLLATE "C" NOT NULL REFERENCES quota_scopes (scope),
    digest TEXT COLLATE "C" NOT NULL,
    size   BIGINT NOT NULL,                  -- 0 while the blob was never pushed
    uses   BIGINT NOT NULL,                  -- manifests that are it or refer to it
    PRIMARY KEY (scope, digest)
);
