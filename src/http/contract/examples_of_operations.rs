//! The examples of what operators see; see [`super::examples`].

use serde_json::{Value, json};

/// The queue of two tenants, and one process with a worker.
pub(super) fn overview() -> Value {
    json!({
        "jobs": { "queued": 3, "running": 1, "paused": 0, "succeeded": 1208, "failed": 2, "canceled": 11, "expired": 0 },
        "oldest_waiting_at": "2025-08-19T08:00:00.000Z",
        "backlog_seconds": 21.5,
        "tenants": [
            { "tenant": "lab", "queued": 2, "running": 1, "paused": 0, "stored_bytes": 48_210_332 },
            { "tenant": "shop", "queued": 1, "running": 0, "paused": 0, "stored_bytes": 1_204_117 },
        ],
        "workers": [{
            "workers": 1,
            "devices": ["cpu"],
            "memory_mb": 12_400,
            "speeds": [{ "model": "efficientnet-lite0", "precision": "fp32", "relative_time": 1.127 }],
        }],
    })
}

/// A job, and whose it is.
pub(super) fn tenant_job(job: Value) -> Value {
    json!({ "tenant": "lab", "job": job })
}
