-- Who waits, and where: a claim goes from one pair of requester and repository to the next, and to the first that fits.
CREATE INDEX executions_waiting ON executions (requested_by, repository, queued, platform)
    WHERE state = 'queued' AND finished IS NULL;
-- When what was put off may be tried again.
CREATE INDEX executions_put_off ON executions (not_before) WHERE finished IS NULL AND not_before > 0;
