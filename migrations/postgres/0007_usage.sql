-- As migrations/sqlite/0017_usage.sql.
CREATE TABLE usage (
    tenant               text COLLATE "C" NOT NULL,
    day                  bigint NOT NULL,
    jobs                 bigint NOT NULL,
    succeeded            bigint NOT NULL,
    megapixel_iterations double precision NOT NULL,
    render_seconds       double precision NOT NULL,
    result_bytes         bigint NOT NULL,
    PRIMARY KEY (tenant, day)
);

CREATE FUNCTION reverie_count_use() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    dream constant boolean := NEW.state = 'succeeded';
BEGIN
    INSERT INTO usage AS used (tenant, day, jobs, succeeded, megapixel_iterations, render_seconds, result_bytes)
    VALUES (NEW.tenant, NEW.finished_at / 86400000, 1, dream::int,
        CASE WHEN dream THEN coalesce(NEW.megapixel_iterations, 0) ELSE 0 END,
        coalesce(NEW.render_seconds, 0), coalesce((NEW.result::jsonb ->> 'size')::bigint, 0))
    ON CONFLICT (tenant, day) DO UPDATE SET
        jobs = used.jobs + excluded.jobs, succeeded = used.succeeded + excluded.succeeded,
        megapixel_iterations = used.megapixel_iterations + excluded.megapixel_iterations,
        render_seconds = used.render_seconds + excluded.render_seconds,
        result_bytes = used.result_bytes + excluded.result_bytes;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_count_use AFTER UPDATE OF state ON jobs FOR EACH ROW
WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
EXECUTE FUNCTION reverie_count_use();
