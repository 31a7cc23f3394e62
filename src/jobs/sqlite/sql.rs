//! The larger statements of the SQLite dialect.

/// Predicted seconds of a job that runs, less the share that it has done.
macro_rules! left {
    () => {
        "coalesce(predicted_seconds, 10.0) * (1 - coalesce(json_extract(progress, '$.fraction'), 0))"
    };
}

/// A row with its place in the queue and the predicted seconds before it, which are there only for queued jobs.
/// A job whose seconds were never predicted counts as ten.
macro_rules! select {
    ($($rest:literal)+) => {
        concat!(
            "SELECT jobs.*, CASE WHEN state = 'queued' THEN (
                SELECT count(*) FROM jobs AS ahead
                WHERE ahead.state = 'queued' AND (ahead.rank, ahead.id) <= (jobs.rank, jobs.id)
            ) END AS queue_position, CASE WHEN state = 'queued' THEN (
                SELECT total(coalesce(predicted_seconds, 10.0)) FROM jobs AS ahead
                WHERE ahead.state = 'queued' AND (ahead.rank, ahead.id) < (jobs.rank, jobs.id)
            ) + (
                SELECT total(",
            left!(),
            ") FROM jobs AS ahead WHERE ahead.state = 'running'
            ) END AS seconds_ahead FROM jobs ",
            $($rest),+
        )
    };
}

/// One job.
pub(super) const SELECT: &str = select!("WHERE id = ?1");

/// A page of all jobs, and of those in one state: two statements, so that each has its index.
pub(super) const LIST: &str =
    select!("WHERE (created_at, id) < (?1, ?2) ORDER BY created_at DESC, id DESC LIMIT ?3");
pub(super) const LIST_IN_STATE: &str =
    select!("WHERE (created_at, id) < (?1, ?2) AND state = ?4 ORDER BY created_at DESC, id DESC LIMIT ?3");

/// A new row. Its place is known where it is the last in rank, and looked up otherwise.
pub(super) const ENQUEUE: &str = "
    INSERT INTO jobs (
        id, state, spec, not_before, created_at, updated_at, priority, deadline_at, idempotency_key, fingerprint,
        traceparent, predicted_seconds, reference_seconds, predicted_memory, megapixel_iterations
    )
    VALUES (?1, 'queued', ?2, ?3, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
    RETURNING *, NULL AS queue_position, NULL AS seconds_ahead";

/// What waits, and what is left of what runs.
pub(super) const WAITING: &str = concat!(
    "SELECT count(*) AS jobs, total(coalesce(predicted_seconds, 10.0)) + (
        SELECT total(",
    left!(),
    ") FROM jobs WHERE state = 'running'
    ) AS seconds
    FROM jobs WHERE state = 'queued'"
);

/// The last in the queue.
pub(super) const LAST: &str =
    "SELECT rank, id FROM jobs WHERE state = 'queued' ORDER BY rank DESC, id DESC LIMIT 1";

/// The one transition that is written in SQL, because choosing a job and taking it must be one statement.
/// It does what [`Facts::next`](crate::jobs::Facts::next) says of [`Event::Claimed`](crate::jobs::Event::Claimed); the contract suite compares the two.
pub(super) const CLAIM: &str = "
    UPDATE jobs SET
        state = 'running', version = version + 1, attempt = attempt + 1, progress = NULL,
        worker = ?1, lease_token = ?2, lease_expires_at = ?3, started_at = ?4, updated_at = ?4
    WHERE id = (
        SELECT id FROM jobs
        WHERE state = 'queued' AND not_before <= ?4 AND (deadline_at IS NULL OR deadline_at > ?4)
        ORDER BY rank, id LIMIT 1
    )
    RETURNING *, NULL AS queue_position, NULL AS seconds_ahead";

/// A beat without progress changes nothing that a client could see, so the version stays.
pub(super) const BEAT: &str = "
    UPDATE jobs SET
        lease_expires_at = ?3, progress = coalesce(?4, progress), version = version + (?4 IS NOT NULL),
        updated_at = CASE WHEN ?4 IS NULL THEN updated_at ELSE ?5 END
    WHERE id = ?1 AND lease_token = ?2
    RETURNING cancel_requested";

/// The time of the row stays that of its progress, from which the rest is reckoned.
pub(super) const PREVIEW: &str =
    "UPDATE jobs SET preview_octave = ?3, version = version + 1 WHERE id = ?1 AND lease_token = ?2";

/// Every other transition. The lease stays only with a job that goes on running; a job that goes back into
/// the queue forgets what its attempt had done.
pub(super) const MOVE: &str = "
    UPDATE jobs SET
        state = ?2, version = version + 1, attempt = ?3, cancel_requested = ?4, not_before = ?5,
        worker = CASE WHEN ?2 = 'running' THEN worker END,
        lease_token = CASE WHEN ?2 = 'running' THEN lease_token END,
        lease_expires_at = CASE WHEN ?2 = 'running' THEN lease_expires_at END,
        started_at = CASE WHEN ?2 <> 'queued' THEN started_at END,
        progress = CASE WHEN ?2 <> 'queued' THEN coalesce(?6, progress) END,
        error = ?7, result = ?8, render_seconds = ?9,
        finished_at = CASE WHEN ?2 NOT IN ('queued', 'running') THEN ?10 END,
        updated_at = ?10
    WHERE id = ?1";

/// Waiting jobs whose deadline has passed.
pub(super) const OVERDUE: &str = "
    SELECT id, state, attempt, cancel_requested FROM jobs
    WHERE state = 'queued' AND deadline_at IS NOT NULL AND deadline_at <= ?1";
