-- What each process reports of its workers is kept in `workers` from now on. The view is for processes of the version
-- before, which read and write it as their table while both versions run; a later migration drops it.
ALTER TABLE crews RENAME TO workers;
ALTER TABLE workers RENAME COLUMN crew TO report;
CREATE VIEW crews AS SELECT id, report AS crew, heard_at FROM workers;
