-- As migrations/sqlite/0018_tiles.sql.
CREATE TABLE tiles (
    id            text COLLATE "C" NOT NULL PRIMARY KEY,
    model         text NOT NULL,
    layer         text NOT NULL,
    channel       bigint,
    wanted_at     bigint NOT NULL,
    attempts      bigint NOT NULL,
    claimed_until bigint
);
