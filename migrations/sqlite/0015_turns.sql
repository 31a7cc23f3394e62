-- Whose turn it is: the first waiting job of each tenant, and how many jobs each has at work.
-- (Not a partial index: SQLite would rather read all waiting jobs in jobs_by_state.)
CREATE INDEX jobs_by_turn ON jobs (state, tenant, rank, id);

-- In which order tenants were last served.
CREATE TABLE turns (
    tenant TEXT    NOT NULL PRIMARY KEY,
    served INTEGER NOT NULL                              -- larger is later
) STRICT;
