-- How long an execution may wait, in milliseconds: each time that it comes back into the queue it may wait that long anew.
ALTER TABLE executions ADD COLUMN queue_wait BIGINT NOT NULL DEFAULT 0;
UPDATE executions SET queue_wait = queue_deadline - queued WHERE finished IS NULL;
