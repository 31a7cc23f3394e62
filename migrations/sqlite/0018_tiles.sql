-- Tiles that somebody wants to see and that are not rendered yet (src/tile.rs). A row goes when its tile is in the blob store.
CREATE TABLE tiles (
    id            TEXT    NOT NULL PRIMARY KEY,
    model         TEXT    NOT NULL,               -- digest of the model's file
    layer         TEXT    NOT NULL,
    channel       INTEGER,                        -- NULL: the whole layer
    wanted_at     INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    claimed_until INTEGER                         -- NULL: nobody renders it
) STRICT;
