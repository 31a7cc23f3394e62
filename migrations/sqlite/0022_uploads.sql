-- Pictures that clients send ahead of their jobs. They count among what the tenant stores from the start, with the length that was
-- announced.
CREATE TABLE uploads (
    id         TEXT    NOT NULL PRIMARY KEY,             -- UUIDv7
    tenant     TEXT    NOT NULL,
    bytes      INTEGER NOT NULL,                         -- that it may have
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_by_end ON uploads (expires_at, id);
CREATE INDEX uploads_by_tenant ON uploads (tenant);

CREATE TRIGGER uploads_count_new AFTER INSERT ON uploads
BEGIN
    INSERT INTO stored (tenant, bytes) VALUES (NEW.tenant, NEW.bytes)
    ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER uploads_count_gone AFTER DELETE ON uploads
BEGIN
    UPDATE stored SET bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant;
END;
