-- As migrations/sqlite/0021_places.sql. (jobs_waiting goes when no version needs it any more.)
DROP INDEX jobs_by_turn;
CREATE INDEX jobs_by_turn ON jobs (tenant, rank, id) INCLUDE (predicted_seconds) WHERE state = 'queued';
