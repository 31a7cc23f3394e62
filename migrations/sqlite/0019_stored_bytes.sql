-- What the files of each tenant take in the blob store. Counted when a job comes, goes on, ends and goes, so that a submission need
-- not add up what there is. By triggers for the same reason as deliveries.
ALTER TABLE jobs ADD COLUMN input_bytes INTEGER NOT NULL DEFAULT 0;   -- image, mask and guide; 0 for jobs of versions before
ALTER TABLE jobs ADD COLUMN working_bytes INTEGER NOT NULL DEFAULT 0; -- checkpoint and preview, which go when the job ends
ALTER TABLE jobs ADD COLUMN held_bytes INTEGER GENERATED ALWAYS AS (
    CASE WHEN swept_at IS NULL THEN
        input_bytes + CASE WHEN finished_at IS NULL THEN working_bytes ELSE 0 END
            + CAST(coalesce(json_extract(result, '$.size'), 0) AS INTEGER)
    ELSE 0 END
) VIRTUAL;

CREATE TABLE stored (
    tenant TEXT    NOT NULL PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT;

INSERT INTO stored (tenant, bytes) SELECT tenant, sum(held_bytes) FROM jobs GROUP BY tenant;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs WHEN NEW.held_bytes > 0
BEGIN
    INSERT INTO stored (tenant, bytes) VALUES (NEW.tenant, NEW.held_bytes)
    ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER jobs_count_change AFTER UPDATE OF working_bytes, finished_at, swept_at ON jobs
WHEN NEW.held_bytes <> OLD.held_bytes
BEGIN
    INSERT INTO stored (tenant, bytes) VALUES (NEW.tenant, NEW.held_bytes - OLD.held_bytes)
    ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER jobs_count_gone AFTER DELETE ON jobs WHEN OLD.held_bytes > 0
BEGIN
    INSERT INTO stored (tenant, bytes) VALUES (OLD.tenant, -OLD.held_bytes)
    ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
