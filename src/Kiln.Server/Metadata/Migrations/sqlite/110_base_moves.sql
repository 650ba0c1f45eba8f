-- On which tags of this registry the tags of products stand, by the newest job that moved each: what a build resolved them
-- to, one row for each platform's digest. Only as long as the product's tag is there.
CREATE TABLE tag_bases (
    repository INTEGER NOT NULL,
    product    TEXT NOT NULL,                -- the product's tag
    job        TEXT NOT NULL,
    base       TEXT NOT NULL,                -- name of the base's repository here
    base_tag   TEXT NOT NULL,
    digest     TEXT NOT NULL,                -- of the image that was built on
    tried      TEXT,                         -- where the base's tag pointed when a build was last started for that, or refused
    PRIMARY KEY (repository, product, base, base_tag, digest),
    FOREIGN KEY (repository, product) REFERENCES tags (repository, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX tag_bases_by_base ON tag_bases (base, base_tag);

-- Tags that something stands on and that have moved, until what stands on them was looked at.
CREATE TABLE base_moves (
    base     TEXT NOT NULL,
    base_tag TEXT NOT NULL,
    noted    TEXT NOT NULL,                  -- another one with each move, so that none is lost
    since    INTEGER NOT NULL,               -- when it moved, in Unix milliseconds
    due      INTEGER NOT NULL,               -- when it is to be looked at
    PRIMARY KEY (base, base_tag)
) WITHOUT ROWID;
CREATE INDEX base_moves_by_due ON base_moves (due);

-- Of a job that a moved base started: the tags whose moves led to it, the first one first (JSON array of REPOSITORY:TAG).
ALTER TABLE jobs ADD COLUMN base_chain TEXT;
