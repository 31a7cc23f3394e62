-- As migrations/sqlite/0023_pauses.sql.
ALTER TABLE jobs ADD COLUMN pause_requested boolean NOT NULL DEFAULT false;

DO $$
DECLARE
    narrow text;
BEGIN
    FOR narrow IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = 'jobs'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%queued%'
    LOOP
        EXECUTE format('ALTER TABLE jobs DROP CONSTRAINT %I', narrow);
    END LOOP;
END $$;

-- The rows that are there fulfilled the narrower checks, so they need not be read.
ALTER TABLE jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'canceled', 'expired')) NOT VALID;
ALTER TABLE jobs ADD CONSTRAINT jobs_end_check
    CHECK ((state IN ('queued', 'running', 'paused')) = (finished_at IS NULL)) NOT VALID;

-- What a tenant has paused, and whose time is over.
CREATE INDEX jobs_paused ON jobs (tenant, updated_at) INCLUDE (predicted_seconds) WHERE state = 'paused';
