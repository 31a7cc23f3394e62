-- Where the end of a job is told, as JSON: url, receiver (scheme, host and port), events (final states).
ALTER TABLE jobs ADD COLUMN webhook TEXT CHECK (webhook IS NULL OR json_valid(webhook));

-- What is to be told, and what became of it: one row for a job that has ended.
CREATE TABLE deliveries (
    id         TEXT    NOT NULL PRIMARY KEY,             -- the webhook-id
    job        TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    tenant     TEXT    NOT NULL,
    event      TEXT    NOT NULL,                         -- the state that the job ended in
    url        TEXT    NOT NULL,
    receiver   TEXT    NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed', 'gone')),
    due_at     INTEGER NOT NULL,                         -- of the next attempt; while one is made, of others' turn
    claim      TEXT,                                     -- UUIDv4, new with every claim: the fence
    failures   INTEGER NOT NULL DEFAULT 0,
    attempts   TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(attempts)),
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_by_job ON deliveries (job);

-- A trigger, because whatever ends a job then writes the row in the same commit, the version before included.
CREATE TRIGGER jobs_tell_end AFTER UPDATE OF state ON jobs
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.webhook IS NOT NULL
BEGIN
    INSERT INTO deliveries (id, job, tenant, event, url, receiver, due_at, created_at)
    SELECT 'msg_' || replace(NEW.id, '-', ''), NEW.id, NEW.tenant, NEW.state, json_extract(NEW.webhook, '$.url'),
        json_extract(NEW.webhook, '$.receiver'), NEW.finished_at, NEW.finished_at
    WHERE EXISTS (SELECT 1 FROM json_each(NEW.webhook, '$.events') WHERE value = NEW.state)
    ON CONFLICT (id) DO NOTHING;
END;
