-- What a build needs of a node, which gets no others than those that fit; 0 where its request does not say.
ALTER TABLE executions ADD COLUMN cpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN gpus INTEGER NOT NULL DEFAULT 0;
