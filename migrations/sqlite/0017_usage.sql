-- What each tenant has used, by day: counted when a job ends, and kept when the job is forgotten. By a trigger for the same
-- reason as deliveries.
CREATE TABLE usage (
    tenant               TEXT    NOT NULL,
    day                  INTEGER NOT NULL,               -- since 1970-01-01, in UTC
    jobs                 INTEGER NOT NULL,               -- that ended
    succeeded            INTEGER NOT NULL,
    megapixel_iterations REAL    NOT NULL,               -- of those that succeeded
    render_seconds       REAL    NOT NULL,
    result_bytes         INTEGER NOT NULL,
    PRIMARY KEY (tenant, day)
) STRICT;

CREATE TRIGGER jobs_count_use AFTER UPDATE OF state ON jobs
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO usage (tenant, day, jobs, succeeded, megapixel_iterations, render_seconds, result_bytes)
    VALUES (NEW.tenant, NEW.finished_at / 86400000, 1, NEW.state = 'succeeded',
        CASE WHEN NEW.state = 'succeeded' THEN coalesce(NEW.megapixel_iterations, 0.0) ELSE 0.0 END,
        coalesce(NEW.render_seconds, 0.0), coalesce(json_extract(NEW.result, '$.size'), 0))
    ON CONFLICT (tenant, day) DO UPDATE SET
        jobs = jobs + excluded.jobs, succeeded = succeeded + excluded.succeeded,
        megapixel_iterations = megapixel_iterations + excluded.megapixel_iterations,
        render_seconds = render_seconds + excluded.render_seconds,
        result_bytes = result_bytes + excluded.result_bytes;
END;
