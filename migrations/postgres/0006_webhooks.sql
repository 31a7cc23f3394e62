-- As migrations/sqlite/0016_webhooks.sql.
ALTER TABLE jobs ADD COLUMN webhook text;

CREATE TABLE deliveries (
    id         text COLLATE "C" PRIMARY KEY,
    job        text COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    tenant     text COLLATE "C" NOT NULL,
    event      text NOT NULL,
    url        text NOT NULL,
    receiver   text COLLATE "C" NOT NULL,
    state      text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed', 'gone')),
    due_at     bigint NOT NULL,
    claim      text COLLATE "C",
    failures   bigint NOT NULL DEFAULT 0,
    attempts   text NOT NULL DEFAULT '[]',
    created_at bigint NOT NULL
);

CREATE INDEX deliveries_due ON deliveries (due_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_by_job ON deliveries (job);

CREATE FUNCTION reverie_tell_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.webhook::jsonb -> 'events' @> to_jsonb(NEW.state) THEN
        INSERT INTO deliveries (id, job, tenant, event, url, receiver, due_at, created_at)
        VALUES ('msg_' || replace(NEW.id, '-', ''), NEW.id, NEW.tenant, NEW.state, NEW.webhook::jsonb ->> 'url',
            NEW.webhook::jsonb ->> 'receiver', NEW.finished_at, NEW.finished_at)
        ON CONFLICT (id) DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_tell_end AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.webhook IS NOT NULL)
EXECUTE FUNCTION reverie_tell_end();
