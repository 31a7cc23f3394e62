-- Whom a job belongs to. Jobs of versions before belong to `default`.
ALTER TABLE jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';

-- Each tenant chooses idempotency keys for itself, and lists its own jobs only.
DROP INDEX jobs_by_idempotency_key;
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key, tenant) WHERE idempotency_key IS NOT NULL;
DROP INDEX jobs_by_age;
CREATE INDEX jobs_by_age ON jobs (tenant, created_at, id);
CREATE INDEX jobs_by_tenant ON jobs (tenant, state, created_at, id);

-- API keys. Of a key's secret only the digest is kept.
CREATE TABLE api_keys (
    id            TEXT    NOT NULL PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,                      -- names, comma-separated
    secret_sha256 TEXT    NOT NULL,                      -- lower-case hex
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    revoked_at    INTEGER,
    last_used_at  INTEGER                                -- to the minute
) STRICT;

CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
