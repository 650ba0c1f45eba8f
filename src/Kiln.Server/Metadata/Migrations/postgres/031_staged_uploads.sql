-- As sqlite/031_staged_uploads.sql.
-- Uploads under way in a blob store that is a bucket: which has neither locks nor transactions, so that they are here.
CREATE TABLE staged_uploads (
    id            TEXT COLLATE "C" PRIMARY KEY,
    fence         BIGINT NOT NULL,          -- grows with each request that takes the upload; older ones are refused
    holder        TEXT COLLATE "C",                      -- the server whose request has it; null when nobody has
    digest        TEXT COLLATE "C",                      -- of all its bytes, where the last request that had it knew
    multipart     TEXT COLLATE "C",                      -- of the bucket: what a commit under way has begun at multipart_key
    multipart_key TEXT COLLATE "C",
    updated       BIGINT NOT NULL
);
CREATE INDEX staged_uploads_by_updated ON staged_uploads (updated);

-- Their bytes so far, as objects, in order.
CREATE TABLE staged_parts (
    upload  TEXT COLLATE "C" NOT NULL REFERENCES staged_uploads (id),
    ordinal BIGINT NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    size    BIGINT NOT NULL,
    PRIMARY KEY (upload, ordinal)
);
