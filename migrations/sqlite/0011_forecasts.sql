-- What a job was predicted to take when it was accepted; none for jobs of an earlier version.
ALTER TABLE jobs ADD COLUMN predicted_seconds REAL;      -- from the claim to the end
ALTER TABLE jobs ADD COLUMN reference_seconds REAL;      -- the same on the machine that work was weighed on
ALTER TABLE jobs ADD COLUMN predicted_memory INTEGER;    -- bytes
ALTER TABLE jobs ADD COLUMN megapixel_iterations REAL;

-- The order of the queue, with what the sum over the jobs ahead needs.
DROP INDEX jobs_by_rank;
CREATE INDEX jobs_by_rank ON jobs (state, rank, id, predicted_seconds);
