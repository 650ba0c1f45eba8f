-- Who is told what becomes of a repository's jobs, as users registered it (docs/adr/0071-hooks.md).
CREATE TABLE hooks (
    id         TEXT PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    url        TEXT NOT NULL,
    events     TEXT NOT NULL,                -- JSON array
    filter     TEXT,                         -- JSON of HookFilter
    secret     BLOB NOT NULL,                -- encrypted, as build secrets are
    origin     TEXT NOT NULL,                -- how the registry was reached by who registered it
    per_minute INTEGER,                      -- as many as the receiver allows
    created_by TEXT NOT NULL,
    created    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX hooks_by_repository ON hooks (repository, id);
