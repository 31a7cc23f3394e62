-- As migrations/sqlite/0014_tenants.sql. Processes of the version before go on while this one is rolled out: what they
-- accept belongs to `default`, and their lookup of an idempotency key still has its index. They check no API keys.
ALTER TABLE jobs ADD COLUMN tenant text COLLATE "C" NOT NULL DEFAULT 'default';

DROP INDEX jobs_by_idempotency_key;
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key, tenant) WHERE idempotency_key IS NOT NULL;
DROP INDEX jobs_by_age;
CREATE INDEX jobs_by_age ON jobs (tenant, created_at, id);
DROP INDEX jobs_by_state;
CREATE INDEX jobs_by_state ON jobs (tenant, state, created_at, id);

-- API keys. Of a key's secret only the digest is kept.
CREATE TABLE api_keys (
    id            text COLLATE "C" PRIMARY KEY,
    tenant        text COLLATE "C" NOT NULL,
    scopes        text NOT NULL,                          -- names, comma-separated
    secret_sha256 text COLLATE "C" NOT NULL,              -- lower-case hex
    created_at    bigint NOT NULL,
    expires_at    bigint,
    revoked_at    bigint,
    last_used_at  bigint                                  -- to the minute
);

CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
