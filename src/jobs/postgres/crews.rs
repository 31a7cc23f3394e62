//! What each process tells of its workers: one row each, written again every few seconds.

use sqlx::PgPool;
use uuid::Uuid;

use crate::jobs::{Crew, QueueError, REPORT_EVERY, change::millis};

/// Those that have fallen silent long ago are forgotten on the way.
const REPORT: &str = "
    WITH silent AS (DELETE FROM crews WHERE heard_at < reverie_now($3) - 600000 AND id <> $1)
    INSERT INTO crews (id, crew, heard_at) VALUES ($1, $2, reverie_now($3))
    ON CONFLICT (id) DO UPDATE SET crew = excluded.crew, heard_at = excluded.heard_at";
const LEAVE: &str = "DELETE FROM crews WHERE id = $1";
const HEARD: &str = "SELECT crew FROM crews WHERE heard_at > reverie_now($1) - $2";

/// Reports that may be missed before a crew counts as gone.
const MISSED: i64 = 3;

/// Tells of the workers of this process; none of them is a good-bye.
pub(super) async fn report(
    pool: &PgPool,
    process: Uuid,
    crew: &Crew,
    now: Option<i64>,
) -> Result<(), QueueError> {
    let process = process.to_string();
    if crew.workers == 0 {
        sqlx::query(LEAVE).bind(process).execute(pool).await?;
        return Ok(());
    }
    let text = serde_json::to_string(crew).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(REPORT).bind(process).bind(text).bind(now).execute(pool).await?;
    Ok(())
}

/// What was told lately.
pub(super) async fn heard(pool: &PgPool, now: Option<i64>) -> Result<Vec<Crew>, QueueError> {
    let crews = sqlx::query_scalar::<_, String>(HEARD).bind(now);
    let crews = crews.bind(MISSED * millis(REPORT_EVERY)).fetch_all(pool).await?;
    // A later version may report otherwise.
    Ok(crews.iter().filter_map(|crew| serde_json::from_str(crew).ok()).collect())
}
