-- Who waits, and where: a claim goes from one pair of requester and repository to the next, and to the first that fits.
CREATE INDEX executions_waiting ON executions (state, requested_by, repository, queued, platform) WHERE finished IS NULL;
DROP INDEX executions_running;
-- When what was put off may be tried again.
CREATE INDEX executions_put_off ON executions (state, not_before) WHERE finished IS NULL AND not_before > 0;
