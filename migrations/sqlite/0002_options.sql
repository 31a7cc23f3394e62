-- What a client may ask for beside the dream itself: a place in the queue, a deadline, and safe repetition.
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -10 AND 10);
ALTER TABLE jobs ADD COLUMN deadline_at INTEGER;         -- the job expires then
ALTER TABLE jobs ADD COLUMN idempotency_key TEXT;        -- as sent by the client; kept as long as the job
ALTER TABLE jobs ADD COLUMN fingerprint TEXT;            -- hash of what came with the key
-- The order of the queue, smallest first. A point of priority is worth a minute of waiting: the order by
-- "priority + minutes waited" never changes while jobs wait, so it is a number that each row has by itself.
ALTER TABLE jobs ADD COLUMN rank INTEGER GENERATED ALWAYS AS (created_at - 60000 * priority) VIRTUAL;

CREATE INDEX jobs_by_rank ON jobs (state, rank, id);
CREATE INDEX jobs_by_age ON jobs (created_at, id);
CREATE INDEX jobs_by_deadline ON jobs (deadline_at) WHERE state = 'queued' AND deadline_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;
