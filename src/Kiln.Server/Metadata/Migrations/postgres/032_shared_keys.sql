-- As sqlite/032_shared_keys.sql.
-- Which keys the servers of this database have: a fingerprint, so that one with others is told at its start.
CREATE TABLE shared_keys (
    id          BIGINT PRIMARY KEY,          -- 1
    fingerprint TEXT COLLATE "C" NOT NULL
);
