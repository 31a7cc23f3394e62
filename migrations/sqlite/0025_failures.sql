-- The operators' list of failures, newest first, whatever tenant they are of.
CREATE INDEX jobs_failed ON jobs (finished_at, id) WHERE state = 'failed';
