-- The order of the queue with its turns, and what the sums over the jobs ahead need, without a look at the rows. (jobs_by_rank goes when no
-- version needs it any more.)
DROP INDEX jobs_by_turn;
CREATE INDEX jobs_by_turn ON jobs (state, tenant, rank, id, predicted_seconds);
