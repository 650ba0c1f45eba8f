-- As sqlite/140_backends.sql.
-- What a request says to the back end of a node, as an object in JSON with its names in order; nodes that start builds
-- elsewhere get only what they honour. Empty where it says nothing.
ALTER TABLE executions ADD COLUMN backend TEXT NOT NULL DEFAULT '';
CREATE INDEX executions_backends ON executions (backend) WHERE finished IS NULL AND backend <> '';
