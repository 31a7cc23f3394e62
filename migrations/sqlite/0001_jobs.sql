-- One row per job. Times are milliseconds since 1970-01-01T00:00:00Z.
CREATE TABLE jobs (
    id               TEXT    NOT NULL PRIMARY KEY,       -- UUIDv7, hyphenated
    state            TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    version          INTEGER NOT NULL DEFAULT 1,         -- grows with every visible change: the ETag
    spec             TEXT    NOT NULL CHECK (json_valid(spec)),
    attempt          INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    not_before       INTEGER NOT NULL,                   -- a retry rests until then
    worker           TEXT,                               -- who holds the lease: for people, never compared
    lease_token      TEXT,                               -- UUIDv4, new with every claim: the fence
    lease_expires_at INTEGER,
    progress         TEXT CHECK (progress IS NULL OR json_valid(progress)),
    error            TEXT CHECK (error IS NULL OR json_valid(error)),
    result           TEXT CHECK (result IS NULL OR json_valid(result)),
    render_seconds   REAL,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    updated_at       INTEGER NOT NULL,
    -- A lease belongs to running jobs and to no others.
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_expires_at IS NULL)),
    -- Finished jobs say when, and only they do; a dream and an error belong to their states.
    CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL))
) STRICT;

-- The order of the queue, its depth, and lists by state.
CREATE INDEX jobs_by_state ON jobs (state, created_at, id);
