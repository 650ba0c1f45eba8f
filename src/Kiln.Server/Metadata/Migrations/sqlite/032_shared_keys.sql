-- Which keys the servers of this database have: a fingerprint, so that one with others is told at its start.
CREATE TABLE shared_keys (
    id          INTEGER PRIMARY KEY,         -- 1
    fingerprint TEXT NOT NULL
);
