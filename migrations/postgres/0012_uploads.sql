-- As migrations/sqlite/0022_uploads.sql.
CREATE TABLE uploads (
    id         text COLLATE "C" PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    bytes      bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX uploads_by_end ON uploads (expires_at, id);
CREATE INDEX uploads_by_tenant ON uploads (tenant);

CREATE FUNCTION reverie_count_upload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO stored AS kept (tenant, bytes) VALUES (NEW.tenant, NEW.bytes)
        ON CONFLICT (tenant) DO UPDATE SET bytes = kept.bytes + excluded.bytes;
    ELSE
        UPDATE stored SET bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER uploads_count AFTER INSERT OR DELETE ON uploads FOR EACH ROW EXECUTE FUNCTION reverie_count_upload();
