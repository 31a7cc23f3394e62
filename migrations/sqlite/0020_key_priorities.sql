-- The largest priority that jobs of a key may have; none for keys without a bound.
ALTER TABLE api_keys ADD COLUMN max_priority INTEGER;
