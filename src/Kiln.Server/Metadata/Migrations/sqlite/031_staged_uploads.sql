-- Uploads under way in a blob store that is a bucket: which has neither locks nor transactions, so that they are here.
CREATE TABLE staged_uploads (
    id            TEXT PRIMARY KEY,
    fence         INTEGER NOT NULL,          -- grows with each request that takes the upload; older ones are refused
    holder        TEXT,                      -- the server whose request has it; null when nobody has
    digest        TEXT,                      -- of all its bytes, where the last request that had it knew
    multipart     TEXT,                      -- of the bucket: what a commit under way has begun at multipart_key
    multipart_key TEXT,
    updated       INTEGER NOT NULL
);
CREATE INDEX staged_uploads_by_updated ON staged_uploads (updated);

-- Their bytes so far, as objects, in order.
CREATE TABLE staged_parts (
    upload  TEXT NOT NULL REFERENCES staged_uploads (id),
    ordinal INTEGER NOT NULL,
    key     TEXT NOT NULL,
    size    INTEGER NOT NULL,
    PRIMARY KEY (upload, ordinal)
);
