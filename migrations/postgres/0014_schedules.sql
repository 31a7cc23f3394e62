-- As migrations/sqlite/0024_schedules.sql.
ALTER TABLE jobs ADD COLUMN schedule text;
ALTER TABLE jobs ADD COLUMN steering text;
ALTER TABLE jobs ADD COLUMN steered bigint NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN place bigint;
ALTER TABLE jobs ADD COLUMN places bigint;
