-- Requests that may be repeated: the same key for the same principal and repository is the same job. Rows go after a day.
CREATE TABLE job_keys (
    principal  TEXT NOT NULL,
    repository TEXT NOT NULL,
    key        TEXT NOT NULL,
    hash       TEXT NOT NULL,                -- SHA-256 of the request that came with it
    job        TEXT NOT NULL,
    created    INTEGER NOT NULL,
    PRIMARY KEY (principal, repository, key)
) WITHOUT ROWID;
CREATE INDEX job_keys_by_created ON job_keys (created);

-- When a job may move its tags: null, if-unchanged or create-only; and where they pointed when it was accepted (JSON).
ALTER TABLE jobs ADD COLUMN tag_policy TEXT;
ALTER TABLE jobs ADD COLUMN tags_seen TEXT;
-- Whether what succeeded is published where not everything did.
ALTER TABLE jobs ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;
