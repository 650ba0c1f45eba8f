-- In front of another registry. Products of jobs on their way there: until they are, the job is not done.
CREATE TABLE front_landings (
    job        TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    state      TEXT NOT NULL,                -- waiting, tagging (from then on it is not cancelled), landed, failed
    since      BIGINT NOT NULL,              -- Unix milliseconds
    tries      BIGINT NOT NULL DEFAULT 0,
    refusals   BIGINT NOT NULL DEFAULT 0,    -- tries that the registry behind refused
    next_try   BIGINT NOT NULL,
    held_by    TEXT,                         -- the server that is at it
    held_until BIGINT NOT NULL DEFAULT 0,
    reason     TEXT,
    message    TEXT
);
CREATE INDEX front_landings_by_next ON front_landings (next_try);

-- Who could pull from which repository behind when they asked for a build that stands on something there.
CREATE TABLE front_pulls (
    principal  TEXT COLLATE "C" NOT NULL,
    repository TEXT COLLATE "C" NOT NULL,
    seen       BIGINT NOT NULL,
    PRIMARY KEY (principal, repository)
);
