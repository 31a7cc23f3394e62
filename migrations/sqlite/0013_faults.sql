-- How often the job went back into the queue because its worker was sick, and not it.
ALTER TABLE jobs ADD COLUMN spared INTEGER NOT NULL DEFAULT 0;
-- What `auto` means for this job, decided once by the first worker that takes it: fp32 or bf16.
ALTER TABLE jobs ADD COLUMN resolved_precision TEXT;
-- When the pictures of an erased job were deleted; until then the sweeper tries again.
ALTER TABLE jobs ADD COLUMN swept_at INTEGER;
-- Hash of what the client sent, beside that of what this version made of it.
ALTER TABLE jobs ADD COLUMN request_fingerprint TEXT;

CREATE INDEX jobs_to_sweep ON jobs (id) WHERE erased_at IS NOT NULL AND swept_at IS NULL;

-- What is done now and then by one process for all, and when it was done last. Readiness writes here too.
CREATE TABLE chores (
    name    TEXT    NOT NULL PRIMARY KEY,
    done_at INTEGER NOT NULL
) STRICT;
