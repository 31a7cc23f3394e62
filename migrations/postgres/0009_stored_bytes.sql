-- As migrations/sqlite/0019_stored_bytes.sql. Whatever changes the files of several tenants in one transaction does so in the order of
-- the tenants' names: two that lock these rows in different orders would wait for each other.
ALTER TABLE jobs ADD COLUMN input_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN working_bytes bigint NOT NULL DEFAULT 0;

CREATE FUNCTION reverie_held_bytes(
    swept_at bigint, finished_at bigint, input_bytes bigint, working_bytes bigint, result text
) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN swept_at IS NULL THEN
        input_bytes + CASE WHEN finished_at IS NULL THEN working_bytes ELSE 0 END
            + coalesce((result::jsonb ->> 'size')::bigint, 0)
    ELSE 0 END
$$;

CREATE TABLE stored (
    tenant text COLLATE "C" PRIMARY KEY,
    bytes  bigint NOT NULL
);

INSERT INTO stored (tenant, bytes)
SELECT tenant, sum(reverie_held_bytes(swept_at, finished_at, input_bytes, working_bytes, result)) FROM jobs GROUP BY tenant;

CREATE FUNCTION reverie_count_stored() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner text;
    change bigint := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        owner := OLD.tenant;
        change := -reverie_held_bytes(OLD.swept_at, OLD.finished_at, OLD.input_bytes, OLD.working_bytes, OLD.result);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        owner := NEW.tenant;
        change := change
            + reverie_held_bytes(NEW.swept_at, NEW.finished_at, NEW.input_bytes, NEW.working_bytes, NEW.result);
    END IF;
    IF change <> 0 THEN
        INSERT INTO stored AS kept (tenant, bytes) VALUES (owner, change)
        ON CONFLICT (tenant) DO UPDATE SET bytes = kept.bytes + excluded.bytes;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs FOR EACH ROW
WHEN (NEW.input_bytes > 0)
EXECUTE FUNCTION reverie_count_stored();

CREATE TRIGGER jobs_count_change AFTER UPDATE OF working_bytes, finished_at, swept_at ON jobs FOR EACH ROW
WHEN (NEW.working_bytes <> OLD.working_bytes OR NEW.finished_at IS DISTINCT FROM OLD.finished_at
    OR NEW.swept_at IS DISTINCT FROM OLD.swept_at)
EXECUTE FUNCTION reverie_count_stored();

CREATE TRIGGER jobs_count_gone AFTER DELETE ON jobs FOR EACH ROW
EXECUTE FUNCTION reverie_count_stored();
