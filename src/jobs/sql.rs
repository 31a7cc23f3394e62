//! The SQL statements, once for both databases: what a statement does to a job is a rule of the queue, and
//! each rule stands in one place.
//!
//! The dialects differ in two things. First, SQLite gets the time as a value (`$n`), while PostgreSQL uses
//! its own clock unless a test drives it (`reverie_now($n)`), so machines whose clocks differ agree on every
//! lease. Second, PostgreSQL locks the rows that it is about to change, and skips rows that another process
//! has locked. Where either matters, a macro builds the statement from the fragments of the dialect.

/// The columns that are read. They are named one by one: with `*`, a column that a newer version adds would
/// change the result type of prepared statements, and PostgreSQL would fail all statements of an older
/// version that still runs.
macro_rules! columns {
    () => {
        "id, state, version, spec, attempt, cancel_requested, progress, error, result, render_seconds, created_at,
        started_at, finished_at, updated_at, priority, deadline_at, rank, traceparent, erased_at, predicted_seconds,
        reference_seconds, predicted_memory, megapixel_iterations, preview_octave, spared, resolved_precision, tenant,
        pause_requested, schedule, steering, steered, place, places"
    };
}

/// What the rules need of a job, and whose it is.
macro_rules! snapshot {
    () => {
        "id, state, attempt, cancel_requested, pause_requested"
    };
}

/// The final states; another version may add states whose meaning is unknown here.
macro_rules! ended {
    () => {
        "state IN ('succeeded', 'failed', 'canceled', 'expired')"
    };
}

/// Predicted seconds of a running job, minus the share that it has done.
macro_rules! left {
    () => {
        "coalesce(predicted_seconds, 10.0) * (1 - coalesce(json_extract(progress, '$.fraction'), 0))"
    };
}

/// One job, as a client sees it: another tenant's does not exist.
pub(super) const SELECT: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1 AND tenant = $2");

/// One job that the calling code has already found, whichever tenant it belongs to.
pub(super) const SELECT_FOUND: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");

/// Jobs that the calling code has already found, whichever tenants they belong to; and the versions alone, which tell what of
/// them need not be read again.
macro_rules! found {
    ($listed:literal) => {
        concat!("SELECT ", $crate::jobs::sql::columns!(), " FROM jobs WHERE ", $listed)
    };
}
macro_rules! versions {
    ($listed:literal) => {
        concat!("SELECT id, version FROM jobs WHERE ", $listed)
    };
}

/// A page of a tenant's jobs.
macro_rules! list {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            $crate::jobs::sql::columns!(),
            " FROM jobs WHERE tenant = $4 AND (created_at, id) < ($1, $2) ",
            $condition,
            " ORDER BY created_at DESC, id DESC LIMIT $3"
        )
    };
}

/// A page of all jobs of a tenant, and of those in one state: two statements, so each uses its own index.
pub(super) const LIST: &str = list!("");
pub(super) const LIST_IN_STATE: &str = list!("AND state = $5");

/// What the places of waiting jobs follow from: the waiting ones by tenant and in their order, the running ones, and when each
/// tenant was served.
pub(super) const WAITING_JOBS: &str = "
    SELECT id, tenant, rank, coalesce(predicted_seconds, 10.0) AS seconds FROM jobs WHERE state = 'queued'
    ORDER BY tenant, rank, id";
pub(super) const RUNNING_JOBS: &str = concat!(
    "SELECT tenant, ",
    left!(),
    " AS seconds FROM jobs WHERE state = 'running' ORDER BY started_at, id"
);
pub(super) const SERVED_TENANTS: &str = "SELECT tenant, served FROM turns";

/// Number of queued jobs, and the predicted seconds of queued jobs plus the rest of the running ones.
pub(super) const WAITING: &str = concat!(
    "SELECT count(*) AS jobs, coalesce(sum(coalesce(predicted_seconds, 10.0)), 0.0) + (
        SELECT coalesce(sum(",
    left!(),
    "), 0.0) FROM jobs WHERE state = 'running'
    ) AS seconds
    FROM jobs WHERE state = 'queued'"
);

pub(super) const COUNTS: &str = "SELECT state, count(*) AS jobs FROM jobs GROUP BY state";
/// Jobs that wait. Paused ones are not among them: nobody drains those, so one tenant could keep the queue full with them.
pub(super) const DEPTH: &str = "SELECT count(*) FROM jobs WHERE state = 'queued'";
pub(super) const OLDEST: &str = "SELECT min(created_at) FROM jobs WHERE state = 'queued'";
pub(super) const PING: &str = "SELECT id FROM jobs LIMIT 1";
pub(super) const WITH_KEY: &str =
    "SELECT id, fingerprint, request_fingerprint FROM jobs WHERE idempotency_key = $1 AND tenant = $2";
pub(super) const DELETE: &str = "DELETE FROM jobs WHERE id = $1 AND tenant = $2";

/// The part of a job that the rules need, if the worker still holds its lease.
pub(super) const HELD: &str =
    concat!("SELECT ", snapshot!(), " FROM jobs WHERE id = $1 AND lease_token = $2");

/// Inserts a job. An existing row stays unchanged, so a client that does not know whether its insert succeeded may repeat it.
macro_rules! enqueue {
    ($now:literal) => {
        concat!(
            "INSERT INTO jobs (
                id, state, spec, not_before, created_at, updated_at, priority, deadline_at, idempotency_key,
                fingerprint, traceparent, predicted_seconds, reference_seconds, predicted_memory,
                megapixel_iterations, request_fingerprint, tenant, webhook, input_bytes
            )
            VALUES ($1, 'queued', $2, ", $now, ", ", $now, ", ", $now, ", $4, ", $now, " + $5, $6, $7, $8, $9, $10,
                $11, $12, $13, $14, $15, $16)
            ON CONFLICT (id) DO NOTHING
            RETURNING ", $crate::jobs::sql::columns!()
        )
    };
}

/// The tenants that have a job ready, how many jobs each has at work, and whether it was the last to be served: the one
/// that was served longest ago first, then by the rank of their first jobs. `waiting` goes from tenant to tenant through
/// the index, whatever number of jobs each has.
macro_rules! turns {
    ($now:literal, $except:literal) => {
        concat!(
            "WITH RECURSIVE waiting (tenant) AS (
                SELECT min(tenant) FROM jobs WHERE state = 'queued'
                UNION ALL
                SELECT (SELECT min(jobs.tenant) FROM jobs WHERE state = 'queued' AND jobs.tenant > waiting.tenant)
                FROM waiting WHERE waiting.tenant IS NOT NULL
            ), ready AS MATERIALIZED (
                SELECT waiting.tenant, (
                    SELECT rank FROM jobs
                    WHERE state = 'queued' AND jobs.tenant = waiting.tenant AND not_before <= ",
            $now,
            "
                        AND (deadline_at IS NULL OR deadline_at > ",
            $now,
            ") AND ",
            $except,
            "
                    ORDER BY rank, id LIMIT 1
                ) AS rank
                FROM waiting WHERE waiting.tenant IS NOT NULL
            )
            SELECT ready.tenant, coalesce(served = (SELECT max(served) FROM turns), false) AS is_last,
                coalesce(at_work.busy, 0) AS busy
            FROM ready LEFT JOIN turns ON turns.tenant = ready.tenant
            LEFT JOIN (SELECT tenant, count(*) AS busy FROM jobs WHERE state = 'running' GROUP BY tenant) AS at_work
                ON at_work.tenant = ready.tenant
            WHERE ready.rank IS NOT NULL
            ORDER BY coalesce(served, 0), ready.rank, ready.tenant"
        )
    };
}

/// Records that a tenant is served.
pub(super) const SERVED: &str = "
    INSERT INTO turns (tenant, served) VALUES ($1, (SELECT coalesce(max(served), 0) + 1 FROM turns))
    ON CONFLICT (tenant) DO UPDATE SET served = excluded.served";

/// Number of a tenant's jobs that wait or are paused, and their predicted seconds.
pub(super) const WAITING_OF: &str = "
    SELECT count(*) AS jobs, coalesce(sum(coalesce(predicted_seconds, 10.0)), 0.0) AS seconds FROM (
        SELECT predicted_seconds FROM jobs WHERE state = 'queued' AND tenant = $1
        UNION ALL
        SELECT predicted_seconds FROM jobs WHERE state = 'paused' AND tenant = $1
    ) AS placed";

/// The one transition written in SQL, because one statement must both choose a job and claim it. It does what
/// [`JobSnapshot::next`](crate::jobs::JobSnapshot::next) says about
/// [`Event::Claimed`](crate::jobs::Event::Claimed); the contract suite compares the two. It takes
/// the first job of one tenant, whose turn it is. `$except` excludes jobs that this version cannot read.
macro_rules! claim {
    ($now:literal, $tenant:literal, $lock:literal, $except:literal) => {
        concat!(
            "UPDATE jobs SET
                state = 'running', version = version + 1, attempt = attempt + 1, progress = NULL, place = NULL,
                worker = $1, lease_token = $2, lease_expires_at = ",
            $now,
            " + $3, started_at = ",
            $now,
            ",
                updated_at = ",
            $now,
            "
            WHERE id = (
                SELECT id FROM jobs
                WHERE state = 'queued' AND tenant = ",
            $tenant,
            " AND not_before <= ",
            $now,
            "
                    AND (deadline_at IS NULL OR deadline_at > ",
            $now,
            ") AND ",
            $except,
            "
                ORDER BY rank, id LIMIT 1 ",
            $lock,
            "
            )
            RETURNING ",
            $crate::jobs::sql::columns!()
        )
    };
}

/// A heartbeat without progress changes nothing that a client can see, so the version stays.
macro_rules! heartbeat {
    ($now:literal) => {
        concat!(
            "UPDATE jobs SET
                lease_expires_at = ",
            $now,
            " + $3, progress = coalesce($4, progress),
                version = version + CASE WHEN $4 IS NULL THEN 0 ELSE 1 END,
                updated_at = CASE WHEN $4 IS NULL THEN updated_at ELSE ",
            $now,
            " END
            WHERE id = $1 AND lease_token = $2
            RETURNING cancel_requested, pause_requested"
        )
    };
}

/// `updated_at` stays the time of the progress, because estimates of the remaining time count from it.
pub(super) const PREVIEW: &str = "
    UPDATE jobs SET preview_octave = $3, working_bytes = $4, version = version + 1 WHERE id = $1 AND lease_token = $2";

/// An octave or frame begins: nobody sees this, but what is asked for from now on is for the next one.
pub(super) const BEGIN: &str = concat!(
    "UPDATE jobs SET place = $3, places = $4 WHERE id = $1 AND lease_token = $2 RETURNING ",
    columns!()
);

/// What was asked for holds from the octave or frame that has begun on.
pub(super) const SCHEDULE: &str = "
    UPDATE jobs SET schedule = $3, steering = NULL, steered = steered + 1, version = version + 1
    WHERE id = $1 AND lease_token = $2 AND steered = $4";

/// Asks for a change, unless the job has gone on since it was read or must stop; what it takes is predicted anew.
pub(super) const STEER: &str = concat!(
    "UPDATE jobs SET
        steering = $3, steered = steered + 1, version = version + 1, predicted_seconds = $4, reference_seconds = $5,
        predicted_memory = $6, megapixel_iterations = $7
    WHERE id = $1 AND tenant = $2 AND steered = $8 AND state = $9 AND attempt = $10 AND coalesce(place, 0) = $11
        AND NOT cancel_requested
    RETURNING ",
    columns!()
);

/// Every other transition. Only a job that keeps running keeps its lease; a job that returns to the queue
/// loses the progress of its attempt. If the row no longer matches the snapshot that the rules were applied
/// to, nothing is written.
macro_rules! transition {
    ($now:literal) => {
        concat!(
            "UPDATE jobs SET
                state = $2, version = version + 1, attempt = $3, cancel_requested = $4, not_before = ",
            $now,
            " + $5,
                worker = CASE WHEN $2 = 'running' THEN worker END,
                lease_token = CASE WHEN $2 = 'running' THEN lease_token END,
                lease_expires_at = CASE WHEN $2 = 'running' THEN lease_expires_at END,
                started_at = CASE WHEN $2 <> 'queued' THEN started_at END,
                progress = CASE WHEN $2 <> 'queued' THEN coalesce($6, progress) END,
                error = $7, result = $8, render_seconds = $9,
                finished_at = CASE WHEN $2 NOT IN ('queued', 'running', 'paused') THEN ",
            $now,
            " END,
                spared = spared + $15, pause_requested = $16, updated_at = ",
            $now,
            "
            WHERE id = $1 AND state = $11 AND attempt = $12 AND cancel_requested = $13 AND pause_requested = $17
                AND ($14 IS NULL OR lease_token = $14)
            RETURNING ",
            $crate::jobs::sql::columns!()
        )
    };
}

/// Queued jobs whose deadline has passed. Those that are to be ended are taken by tenant, as in [`lost!`]: ending a job locks the
/// row that counts its tenant's use, and two processes that lock these rows in different orders would wait for each other.
macro_rules! overdue {
    ($now:literal, $lock:literal) => {
        concat!(
            "SELECT ",
            $crate::jobs::sql::snapshot!(),
            " FROM jobs WHERE state = 'queued' AND deadline_at IS NOT NULL AND deadline_at <= ",
            $now,
            " ",
            $lock
        )
    };
}

/// Paused jobs whose deadline has passed, or that have been paused for longer than
/// [`PAUSE_LIFETIME`](crate::jobs::PAUSE_LIFETIME): nothing that a client can do to a paused job touches `updated_at`. A statement of its
/// own, so that [`overdue!`] keeps its index.
macro_rules! overdue_paused {
    ($now:literal, $lock:literal) => {
        concat!(
            "SELECT ",
            $crate::jobs::sql::snapshot!(),
            " FROM jobs WHERE state = 'paused' AND (deadline_at <= ",
            $now,
            " OR updated_at <= ",
            $now,
            " - 604800000) ",
            $lock
        )
    };
}

/// Running jobs whose lease has expired, or all running jobs.
macro_rules! lost {
    ($now:literal, $lock:literal) => {
        concat!(
            "SELECT ",
            $crate::jobs::sql::snapshot!(),
            " FROM jobs WHERE state = 'running' AND ($1 OR lease_expires_at <= ",
            $now,
            ") ORDER BY tenant, created_at, id ",
            $lock
        )
    };
}

/// Clients can see this change, so the version grows.
macro_rules! expire_blobs {
    ($now:literal, $lock:literal) => {
        concat!(
            "UPDATE jobs SET erased_at = ", $now, ", version = version + 1, updated_at = ", $now, "
            WHERE id IN (
                SELECT id FROM jobs WHERE finished_at < $1 AND finished_at IS NOT NULL AND erased_at IS NULL
                    AND ", $crate::jobs::sql::ended!(), "
                ORDER BY finished_at LIMIT $2 ", $lock, "
            )
            RETURNING id, result"
        )
    };
}

/// Finished jobs, oldest first.
pub(super) const ENDED: &str = concat!(
    "SELECT id, result FROM jobs WHERE finished_at < $1 AND finished_at IS NOT NULL AND ",
    ended!(),
    " ORDER BY finished_at LIMIT $2"
);

pub(super) const PURGE: &str =
    concat!("DELETE FROM jobs WHERE id = $1 AND finished_at IS NOT NULL AND ", ended!());

/// Erased jobs whose pictures may still exist, after a given id.
pub(super) const BLOBS_TO_DELETE: &str = "
    SELECT id, result FROM jobs WHERE erased_at IS NOT NULL AND swept_at IS NULL AND id > $1 ORDER BY id LIMIT $2";

/// Clients cannot see this change, so the version stays.
macro_rules! blobs_deleted {
    ($now:literal, $listed:literal) => {
        concat!("UPDATE jobs SET swept_at = ", $now, " WHERE erased_at IS NOT NULL AND ", $listed)
    };
}

/// The owner data of the listed jobs.
macro_rules! owners {
    ($listed:literal) => {
        concat!("SELECT id, state, erased_at, result FROM jobs WHERE ", $listed)
    };
}

/// Takes a chore if no process did it within the interval. A time in the future comes from a wrong clock and
/// does not count.
macro_rules! chore {
    ($now:literal) => {
        concat!(
            "INSERT INTO chores (name, done_at) VALUES ($1, ",
            $now,
            ")
            ON CONFLICT (name) DO UPDATE SET done_at = excluded.done_at
            WHERE chores.done_at <= excluded.done_at - $2 OR chores.done_at > excluded.done_at"
        )
    };
}

/// A write without any visible effect.
macro_rules! probe {
    ($now:literal) => {
        concat!(
            "INSERT INTO chores (name, done_at) VALUES ('probe', ",
            $now,
            ")
            ON CONFLICT (name) DO UPDATE SET done_at = excluded.done_at"
        )
    };
}

/// The precision of a job: the first value stays.
pub(super) const PRECISION: &str = "
    UPDATE jobs SET resolved_precision = coalesce(resolved_precision, $3) WHERE id = $1 AND lease_token = $2
    RETURNING resolved_precision";

pub(super) use {
    blobs_deleted, chore, claim, columns, ended, enqueue, expire_blobs, found, heartbeat, lost, overdue,
    overdue_paused, owners, probe, snapshot, transition, turns, versions,
};
