//! Changes of a dream on its way: what a client asks for waits in the row until its octave or frame begins, and then becomes
//! a part of the schedule, in one step with the beginning. So the schedule says exactly what is dreamed, whichever worker dreams it.

use super::{Begun, Job};
use reverie_dream::spec::Change;

/// The schedule of a job with what was asked for, if that holds from the octave or frame on that has begun. After a lost attempt it may
/// be for a later one.
pub(super) fn taken_up(job: &Job, begun: Begun) -> Option<Vec<Change>> {
    let change = job.steering.as_ref().filter(|change| change.place() <= begun.place)?;
    Some(job.spec.scheduled(change, begun.place))
}

/// Binds the values of [`sql::BEGIN`](super::sql::BEGIN).
macro_rules! bind_begin {
    ($lease:expr, $begun:expr) => {{
        let (lease, begun): (Lease, Begun) = ($lease, $begun);
        sqlx::query(sql::BEGIN)
            .bind(lease.job.to_string())
            .bind(lease.token.to_string())
            .bind(i64::from(begun.place))
            .bind(i64::from(begun.places))
    }};
}

/// Binds the values of [`sql::SCHEDULE`](super::sql::SCHEDULE).
macro_rules! bind_schedule {
    ($lease:expr, $schedule:expr, $before:expr) => {{
        let lease: Lease = $lease;
        sqlx::query(sql::SCHEDULE)
            .bind(lease.job.to_string())
            .bind(lease.token.to_string())
            .bind(row::json(lease.job, $schedule)?)
            .bind($before.steered as i64)
    }};
}

/// Binds the values of [`sql::STEER`](super::sql::STEER).
macro_rules! bind_steer {
    ($before:expr, $change:expr, $forecast:expr) => {{
        let (before, forecast): (&Job, Forecast) = ($before, $forecast);
        sqlx::query(sql::STEER)
            .bind(before.id.to_string())
            .bind(before.tenant.as_str())
            .bind(row::json(before.id, $change)?)
            .bind(forecast.seconds)
            .bind(forecast.reference_seconds)
            .bind(forecast.memory as i64)
            .bind(forecast.megapixel_iterations)
            .bind(before.steered as i64)
            .bind(before.state.as_str())
            .bind(i64::from(before.attempt))
            .bind(before.begun.map_or(0, |begun| i64::from(begun.place)))
    }};
}

pub(super) use {bind_begin, bind_schedule, bind_steer};
