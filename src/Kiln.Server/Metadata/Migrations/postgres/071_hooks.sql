-- As sqlite/071_hooks.sql.
-- Who is told what becomes of a repository's jobs, as users registered it (docs/adr/0071-hooks.md).
CREATE TABLE hooks (
    id         TEXT COLLATE "C" PRIMARY KEY,
    repository BIGINT NOT NULL REFERENCES repositories (id),
    url        TEXT NOT NULL,
    events     TEXT NOT NULL,                -- JSON array
    filter     TEXT,                         -- JSON of HookFilter
    secret     BYTEA NOT NULL,                -- encrypted, as build secrets are
    origin     TEXT COLLATE "C" NOT NULL,                -- how the registry was reached by who registered it
    per_minute BIGINT,                      -- as many as the receiver allows
    created_by TEXT COLLATE "C" NOT NULL,
    created    BIGINT NOT NULL
);
CREATE INDEX hooks_by_repository ON hooks (repository, id);
