-- In front of another registry. Products of jobs on their way there: until they are, the job is not done.
CREATE TABLE front_landings (
    job        TEXT PRIMARY KEY NOT NULL,
    state      TEXT NOT NULL,                -- waiting, tagging (from then on it is not cancelled), landed, failed
    since      INTEGER NOT NULL,             -- Unix milliseconds
    tries      INTEGER NOT NULL DEFAULT 0,
    refusals   INTEGER NOT NULL DEFAULT 0,   -- tries that the registry behind refused
    next_try   INTEGER NOT NULL,
    held_by    TEXT,                         -- the server that is at it
    held_until INTEGER NOT NULL DEFAULT 0,
    reason     TEXT,
    message    TEXT
) WITHOUT ROWID;
CREATE INDEX front_landings_by_next ON front_landings (next_try);

-- Who could pull from which repository behind when they asked for a build that stands on something there.
CREATE TABLE front_pulls (
    principal  TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen       INTEGER NOT NULL,
    PRIMARY KEY (principal, repository)
) WITHOUT ROWID;
