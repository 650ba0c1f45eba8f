-- What was attached to its product (JSON): manifests with its provenance and its log.
ALTER TABLE executions ADD COLUMN evidence TEXT;
