-- As sqlite/110_base_moves.sql.
-- On which tags of this registry the tags of products stand, by the newest job that moved each: what a build resolved them
-- to, one row for each platform's digest. Only as long as the product's tag is there.
CREATE TABLE tag_bases (
    repository BIGINT NOT NULL,
    product    TEXT COLLATE "C" NOT NULL,                -- the product's tag
    job        TEXT COLLATE "C" NOT NULL,
    base       TEXT COLLATE "C" NOT NULL,                -- name of the base's repository here
    base_tag   TEXT COLLATE "C" NOT NULL,
    digest     TEXT COLLATE "C" NOT NULL,                -- of the image that was built on
    tried      TEXT COLLATE "C",                         -- where the base's tag pointed when a build was last started for that, or refused
    PRIMARY KEY (repository, product, base, base_tag, digest),
    FOREIGN KEY (repository, product) REFERENCES tags (repository, name) ON DELETE CASCADE
);
CREATE INDEX tag_bases_by_base ON tag_bases (base, base_tag);

-- Tags that something stands on and that have moved, until what stands on them was looked at.
CREATE TABLE base_moves (
    base     TEXT COLLATE "C" NOT NULL,
    base_tag TEXT COLLATE "C" NOT NULL,
    noted    TEXT COLLATE "C" NOT NULL,                  -- another one with each move, so that none is lost
    since    BIGINT NOT NULL,               -- when it moved, in Unix milliseconds
    due      BIGINT NOT NULL,               -- when it is to be looked at
    PRIMARY KEY (base, base_tag)
);
CREATE INDEX base_moves_by_due ON base_moves (due);

-- Of a job that a moved base started: the tags whose moves led to it, the first one first (JSON array of REPOSITORY:TAG).
ALTER TABLE jobs ADD COLUMN base_chain TEXT COLLATE "C";
