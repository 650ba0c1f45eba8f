-- As sqlite/111_resources.sql.
-- What a build needs of a node, which gets no others than those that fit; 0 where its request does not say.
ALTER TABLE executions ADD COLUMN cpus BIGINT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN memory_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN disk_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN gpus BIGINT NOT NULL DEFAULT 0;
