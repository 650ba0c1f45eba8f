-- As sqlite/030_servers.sql.
-- Servers that work on this database, by what each last said of itself. One that says nothing any more is dead: its locks
-- and the leases of its own build node are free.
CREATE TABLE servers (
    id   TEXT COLLATE "C" PRIMARY KEY,
    seen BIGINT NOT NULL                     -- Unix milliseconds
);

-- Whose own node holds a local lease (lease_local = 1).
ALTER TABLE executions ADD COLUMN lease_server TEXT COLLATE "C";
