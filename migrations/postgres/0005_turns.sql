-- As migrations/sqlite/0015_turns.sql. A process of the version before claims without turns.
CREATE INDEX jobs_by_turn ON jobs (tenant, rank, id) WHERE state = 'queued';
CREATE INDEX jobs_at_work ON jobs (tenant) WHERE state = 'running';

CREATE TABLE turns (
    tenant text COLLATE "C" PRIMARY KEY,
    served bigint NOT NULL                                -- larger is later
);
