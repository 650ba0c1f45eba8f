-- As sqlite/081_requests.sql.
-- Requests that may be repeated: the same key for the same principal and repository is the same job. Rows go after a day.
CREATE TABLE job_keys (
    principal  TEXT COLLATE "C" NOT NULL,
    repository TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    hash       TEXT COLLATE "C" NOT NULL,                -- SHA-256 of the request that came with it
    job        TEXT COLLATE "C" NOT NULL,
    created    BIGINT NOT NULL,
    PRIMARY KEY (principal, repository, key)
);
CREATE INDEX job_keys_by_created ON job_keys (created);

-- When a job may move its tags: null, if-unchanged or create-only; and where they pointed when it was accepted (JSON).
ALTER TABLE jobs ADD COLUMN tag_policy TEXT COLLATE "C";
ALTER TABLE jobs ADD COLUMN tags_seen TEXT COLLATE "C";
-- Whether what succeeded is published where not everything did.
ALTER TABLE jobs ADD COLUMN partial BIGINT NOT NULL DEFAULT 0;
