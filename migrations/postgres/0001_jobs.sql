-- One row per job, as in migrations/sqlite. Times are milliseconds since 1970-01-01T00:00:00Z by this server's clock.
-- Ids and tokens are text in the order of their bytes, so that both databases read and compare them alike.
CREATE TABLE jobs (
    id                   text COLLATE "C" PRIMARY KEY,    -- UUIDv7, hyphenated
    state                text COLLATE "C" NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    version              bigint NOT NULL DEFAULT 1,       -- grows with every visible change: the ETag
    spec                 text NOT NULL,                   -- JSON, as the following ones
    attempt              bigint NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    cancel_requested     boolean NOT NULL DEFAULT false,
    not_before           bigint NOT NULL,                 -- a retry rests until then
    worker               text,                            -- who holds the lease: for people, never compared
    lease_token          text COLLATE "C",                -- UUIDv4, new with every claim: the fence
    lease_expires_at     bigint,
    progress             text,
    error                text,
    result               text,
    render_seconds       double precision,
    created_at           bigint NOT NULL,
    started_at           bigint,
    finished_at          bigint,
    updated_at           bigint NOT NULL,
    priority             bigint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -10 AND 10),
    deadline_at          bigint,                          -- the job expires then
    idempotency_key      text COLLATE "C",                -- as sent by the client; kept as long as the job
    fingerprint          text COLLATE "C",                -- hash of what came with the key
    -- The order of the queue, smallest first. A point of priority is worth a minute of waiting: the order by
    -- "priority + minutes waited" never changes while jobs wait, so it is a number that each row has by itself.
    rank                 bigint NOT NULL GENERATED ALWAYS AS (created_at - 60000 * priority) STORED,
    traceparent          text,                            -- W3C trace that the job belongs to
    erased_at            bigint CHECK (erased_at IS NULL OR finished_at IS NOT NULL),
    predicted_seconds    double precision,                -- from the claim to the end
    reference_seconds    double precision,                -- the same on the machine that work was weighed on
    predicted_memory     bigint,                          -- bytes
    megapixel_iterations double precision,
    preview_octave       bigint,                          -- the newest octave, from 1, whose preview is stored
    -- A lease belongs to running jobs and to no others.
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_expires_at IS NULL)),
    -- Finished jobs say when, and only they do; a dream and an error belong to their states.
    CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL)),
    CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL))
)
-- Beats touch no index, so with some room on the page they cost no index entry either. Every claim walks over what
-- earlier claims have left at the front of the queue, so that is cleared away
-- soon and from the indexes too, however many finished rows there are.
WITH (
    fillfactor = 80, vacuum_index_cleanup = on, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_scale_factor = 0.02
);

-- The order of the queue, with what the sum over the jobs ahead needs. Finished jobs are in none of the indexes that
-- claims and rescues read.
CREATE INDEX jobs_waiting ON jobs (rank, id) INCLUDE (predicted_seconds) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (created_at, id) WHERE state = 'running';
CREATE INDEX jobs_by_deadline ON jobs (deadline_at) WHERE state = 'queued' AND deadline_at IS NOT NULL;
-- Lists.
CREATE INDEX jobs_by_age ON jobs (created_at, id);
CREATE INDEX jobs_by_state ON jobs (state, created_at, id);
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;
-- What the sweeper looks for: jobs by age of their end, with pictures and all.
CREATE INDEX jobs_to_erase ON jobs (finished_at) WHERE finished_at IS NOT NULL AND erased_at IS NULL;
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- The time that everybody goes by: this server's, or one that a test drives by hand.
CREATE FUNCTION reverie_now(by_hand bigint) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT coalesce(by_hand, floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint) $$;

-- A number inside JSON, as SQLite has it: the statements are the same for both.
CREATE FUNCTION json_extract(document text, path text) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (jsonb_path_query_first(document::jsonb, path::jsonpath) #>> '{}')::double precision $$;

-- What all processes must agree on, as the first one had it.
CREATE TABLE settings (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);

-- The workers of each process, as it reports them every few seconds, for those that only accept jobs.
CREATE TABLE crews (
    id       text PRIMARY KEY,  -- one per process and start
    crew     text NOT NULL,     -- JSON
    heard_at bigint NOT NULL
);
