-- The trace that a job belongs to (W3C traceparent), so that its worker can continue it.
ALTER TABLE jobs ADD COLUMN traceparent TEXT;

-- When the pictures of a finished job were given up; the row stays for a while to say so.
ALTER TABLE jobs ADD COLUMN erased_at INTEGER CHECK (erased_at IS NULL OR finished_at IS NOT NULL);

-- What the sweeper looks for: jobs by age of their end, with pictures and all.
CREATE INDEX jobs_to_erase ON jobs (finished_at) WHERE finished_at IS NOT NULL AND erased_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;
