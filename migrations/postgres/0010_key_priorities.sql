-- As migrations/sqlite/0020_key_priorities.sql.
ALTER TABLE api_keys ADD COLUMN max_priority bigint;
