//! `[quotas]`: what one tenant may take.

use std::collections::BTreeMap;

use super::Fields;
use crate::keys::Tenant;

/// Limits and shares of each tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotasConfig {
    /// Maximum number of waiting jobs of one tenant; `None` for no limit but the queue's.
    pub max_waiting_jobs: Option<u32>,
    /// Maximum predicted seconds of the waiting jobs of one tenant; `None` for no limit.
    pub max_waiting_seconds: Option<u32>,
    /// Maximum number of running jobs of one tenant; `None` for no limit.
    pub max_running_jobs: Option<u32>,
    /// Maximum size of one tenant's stored files, in megabytes; `None` for no limit.
    pub max_stored_mb: Option<u32>,
    /// Requests per second of one tenant to this process; `None` for no limit.
    pub requests_per_second: Option<u32>,
    /// Shares of the workers; 1 for tenants that are not named.
    pub weights: BTreeMap<Tenant, u32>,
}

impl QuotasConfig {
    /// Maximum length of one tenant's stored files in bytes; `None` for no limit.
    pub fn max_stored_bytes(&self) -> Option<u64> {
        self.max_stored_mb.map(|megabytes| u64::from(megabytes) * 1_000_000)
    }
}

pub(super) fn quotas(fields: &mut Fields, default: QuotasConfig) -> QuotasConfig {
    let limit = |given: Option<u32>, default: Option<u32>| match given {
        Some(0) => None,
        given => given.or(default),
    };
    let max_waiting_jobs = fields.number("max_waiting_jobs", 0, 1_000_000);
    let max_waiting_seconds = fields.number("max_waiting_seconds", 0, 100_000_000);
    let max_running_jobs = fields.number("max_running_jobs", 0, 1_000_000);
    let max_stored_mb = fields.number("max_stored_mb", 0, 1_000_000_000);
    let requests_per_second = fields.number("requests_per_second", 0, 1_000_000);
    let mut weights = default.weights;
    for text in fields.texts("weights").unwrap_or_default() {
        let read = text.split_once('=').and_then(|(tenant, weight)| {
            let weight = weight.trim().parse().ok().filter(|weight| (1..=1000).contains(weight))?;
            Some((tenant.trim().parse::<Tenant>().ok()?, weight))
        });
        match read {
            Some((tenant, weight)) => drop(weights.insert(tenant, weight)),
            None => fields.error(
                "weights",
                format!("\"{text}\" is not a share; expected TENANT=N such as lab=3, with N from 1 to 1000"),
            ),
        }
    }
    QuotasConfig {
        max_waiting_jobs: limit(max_waiting_jobs, default.max_waiting_jobs),
        max_waiting_seconds: limit(max_waiting_seconds, default.max_waiting_seconds),
        max_running_jobs: limit(max_running_jobs, default.max_running_jobs),
        max_stored_mb: limit(max_stored_mb, default.max_stored_mb),
        requests_per_second: limit(requests_per_second, default.requests_per_second),
        weights,
    }
}
