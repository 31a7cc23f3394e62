//! Waits for the end of a job: the bounded wait of `Prefer: wait=n` (RFC 7240). It ends with its request and leaves nothing
//! behind.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use tokio::time::{Instant, timeout_at};

use super::{
    error::ApiError,
    follow::{Follower, Next},
    state::AppState,
};
use crate::{
    jobs::{Job, JobId},
    keys::Tenant,
};

/// Maximum wait: proxies tend to time out after a minute.
const MAX_WAIT: u64 = 60;

/// A client's preference to wait for the end of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    seconds: u64,
}

impl Preference {
    /// A wait of `seconds`.
    pub const fn seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// How long.
    pub const fn time(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Parses `Prefer`, for which `headers` has no type. The first `wait` counts and is capped at a minute; unreadable parts are ignored, as
    /// preferences are.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let mut preferences = lines.flat_map(|line| {
            // A comma inside quotes does not separate.
            let mut quoted = false;
            line.split(move |letter: char| {
                quoted ^= letter == '"';
                letter == ',' && !quoted
            })
        });
        let value = preferences.find_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').to_owned())
        })?;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Self { seconds: value.parse().unwrap_or(MAX_WAIT).min(MAX_WAIT) })
    }
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Reports the applied preference and its value.
pub fn mark_applied(response: &mut Response, preference: Option<Preference>) {
    let Some(Preference { seconds }) = preference else { return };
    if let Ok(value) = HeaderValue::from_str(&format!("wait={seconds}")) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), value);
    }
}

/// Waits for the end of a tenant's job. Returns the job as it is then, or when the time is over or the server stops.
///
/// # Errors
/// If the tenant has no such job, or no longer has it.
pub async fn until_finished(
    state: &AppState,
    tenant: &Tenant,
    id: JobId,
    preference: Preference,
) -> Result<Job, ApiError> {
    let end = Instant::now() + preference.time();
    let mut follower = Follower::new(state, tenant, id);
    let mut job = follower.read().await?;
    while !job.state.is_finished() {
        match timeout_at(end, follower.next()).await {
            Ok(Next::Job(next)) => job = next,
            // A read of its own has the reason, if there still is one.
            Ok(Next::Lost) => job = follower.read().await?,
            Ok(Next::Stopped) | Err(_) => break,
        }
    }
    Ok(Arc::unwrap_or_clone(job))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use reverie_fields::arbitrary::quick;

    #[test]
    fn preferences_are_read() {
        for (lines, expected) in [
            (&["wait=10"][..], Some(10)),
            (&["respond-async, wait=\"7\"; strict"], Some(7)),
            (&["return=minimal", "WAIT = 3"], Some(3)),
            (&["wait=5, wait=8"], Some(5)),
            (&["note=\"a, wait=3\", wait=8"], Some(8)),
            (&["wait=0"], Some(0)),
            (&["wait=3600"], Some(60)),
            (&["wait=99999999999999999999999"], Some(60)),
            (&["wait=-1"], None),
            (&["wait=soon"], None),
            (&["wait"], None),
            (&["await=3"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER, HeaderValue::from_static(line));
            }
            let found = Preference::of(&headers).map(|preference| preference.seconds);
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn a_wait_is_found_among_other_preferences(
            seconds in any::<u64>(),
            before in "([a-v]{1,8}(=[a-z0-9]{1,5}|=\"[a-z ,;=]{0,8}\")?[,] ?){0,3}",
            quotes in any::<bool>(),
        ) {
            let wait = if quotes { format!("wait=\"{seconds}\"") } else { format!("wait={seconds}") };
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_str(&format!("{before}{wait}; strict, other")).unwrap());
            prop_assert_eq!(Preference::of(&headers), Some(Preference::seconds(seconds.min(MAX_WAIT))));
        }

        #[test]
        fn any_preference_is_read_or_ignored(lines in proptest::collection::vec("(wait *= *)?[ -~\t]{0,30}", 0..4)) {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER, HeaderValue::from_str(&line).unwrap());
            }
            prop_assert!(Preference::of(&headers).is_none_or(|wait| wait.seconds <= MAX_WAIT));
        }
    }
}
