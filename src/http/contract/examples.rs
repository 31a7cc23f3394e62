//! The examples of the contract, one for each answer and for each refusal that a test can bring about. The document
//! holds each once, under the name of its schema or of its response; every place that answers it refers to it. Examples
//! of parameters and of requests stand beside their operations. `tests/openapi` plays all of them against a server.

use serde_json::{Value, json};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, example::ExampleBuilder};

use super::examples_of_operations as operations;
use reverie_dream::spec::{Count, DreamSpec, Objective, ObjectiveKind, Preset, Share};

/// A small image for the examples, as a data URI.
pub const EXAMPLE_IMAGE: &str = include_str!("example.txt");

/// The job of the examples.
const JOB: &str = "/v1/jobs/0198c0de-5a7e-7000-8000-00000000d0e5";

/// Puts the examples into the document.
pub(super) fn attach(document: &mut OpenApi) {
    let examples = all();
    let named = |name: &str| examples.iter().any(|(example, ..)| *example == name);
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
            .into_iter()
            .filter_map(Option::as_mut)
    });
    for response in operations.flat_map(|operation| operation.responses.responses.values_mut()) {
        let RefOr::T(response) = response else { continue };
        for content in response.content.values_mut() {
            if let RefOr::T(content) = content
                && let Some(RefOr::Ref(schema)) = &content.schema
                && let Some(name) = schema.ref_location.rsplit('/').next().filter(|name| named(name))
            {
                refer(content, name.to_owned());
            }
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    for (name, response) in &mut components.responses {
        let RefOr::T(response) = response else { continue };
        for content in response.content.values_mut().filter(|_| named(name)) {
            if let RefOr::T(content) = content {
                refer(content, name.clone());
            }
        }
    }
    components.examples.extend(examples.into_iter().map(|(name, summary, value)| {
        let example = ExampleBuilder::new().summary(summary).value(Some(value)).build();
        (name.to_owned(), RefOr::T(example))
    }));
}

/// Has the content refer to the example `name`.
fn refer(content: &mut Content, name: String) {
    let reference = Ref::new(format!("#/components/examples/{name}"));
    content.examples.insert(name, RefOr::Ref(reference));
}

/// Name, summary and value of each example.
fn all() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("Job", "A finished job", job()),
        ("DryRun", "A small dream, and an empty queue", dry_run()),
        ("JobList", "The last page", json!({ "jobs": [job()], "links": { "next": null } })),
        ("SignedLinks", "Links for an hour", signed_links()),
        ("Usage", "One day", usage()),
        ("Operations", "Two tenants and one worker", operations::overview()),
        ("OperationsJobs", "One job", json!({ "jobs": [operations::tenant_job(job())] })),
        ("TenantJob", "A job of the tenant `lab`", operations::tenant_job(job())),
        ("Upload", "Where a picture can be sent for an hour", upload()),
        ("JobEvent", "The end of a job", job_event()),
        (
            "DeliveryList",
            "A message that arrived at the second attempt",
            json!({ "deliveries": [delivery()] }),
        ),
        ("Health", "Alive", json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })),
        ("Readiness", "Ready", readiness()),
        ("Model", "The default model", model()),
        ("CreatedKey", "A key for 90 days", created_key()),
        ("KeyList", "One key", json!({ "keys": [key()] })),
        (
            "ModelList",
            "One model",
            json!({ "models": [model()], "default": "efficientnet-lite0", "unreadable": [unreadable()] }),
        ),
        ("LayerList", "The last layers", layers()),
        ("ClassList", "Of a thousand", classes()),
        ("TilePending", "The first request for a tile", tile_pending()),
        ("LookList", "One look", looks()),
        ("FormatList", "A format of every kind, where there is no ffmpeg", formats()),
        (
            "Malformed",
            "Damaged JSON",
            problem(
                400,
                "malformed",
                "Malformed request",
                "the body cannot be read as JSON: EOF while parsing an object at line 1 column 1",
                JOBS,
            ),
        ),
        (
            "Unauthorized",
            "No key",
            problem(
                401,
                "unauthorized",
                "A valid key is needed",
                "this request needs a key; send it in a header: Authorization: Bearer rvk_…",
                JOBS,
            ),
        ),
        (
            "Forbidden",
            "A key that may only read",
            problem(
                403,
                "forbidden",
                "The key does not allow this",
                "the key lacks the scope \"jobs:write\"",
                JOBS,
            ),
        ),
        (
            "NotFound",
            "An unknown job",
            problem(
                404,
                "not-found",
                "Not found",
                "there is no job \"0198c0de-5a7e-7000-8000-00000000d0e5\"",
                JOB,
            ),
        ),
        (
            "AlreadyFinished",
            "A finished job",
            problem(
                409,
                "already-finished",
                "The job has ended",
                "the job is already succeeded",
                &of_job("cancel"),
            ),
        ),
        (
            "NoResult",
            "A job in the queue",
            problem(
                409,
                "no-result",
                "There is no result",
                "the job is queued: there is no result yet",
                &of_job("result"),
            ),
        ),
        (
            "TooLarge",
            "More JSON than a request needs",
            problem(
                413,
                "too-large",
                "The body is too long",
                "the body is too long; at most 262144 bytes of JSON are allowed, data URIs of pictures not counted",
                JOBS,
            ),
        ),
        (
            "UnsupportedType",
            "Neither a form nor JSON",
            problem(
                415,
                "unsupported-type",
                "Unsupported media type",
                "Content-Type \"text/plain\" is not supported; send multipart/form-data or application/json",
                JOBS,
            ),
        ),
        (
            "BeyondEnd",
            "A range of bytes that do not exist",
            problem(
                416,
                "beyond-end",
                "The range begins after the end",
                "the range begins after the end; the file has 7431 bytes",
                &of_job("result"),
            ),
        ),
        ("Invalid", "A mistake in the spec", invalid()),
        (
            "QuotaExceeded",
            "Too many requests",
            problem(
                429,
                "quota-exceeded",
                "A quota is used up",
                "this tenant may send 1 requests per second",
                JOBS,
            ),
        ),
        (
            "QueueFull",
            "As many jobs as fit",
            problem(
                429,
                "queue-full",
                "The queue is full",
                "the queue is full: no more than 1 may wait",
                JOBS,
            ),
        ),
    ]
}

/// Path of the jobs.
const JOBS: &str = "/v1/jobs";

/// Path of a part of the job.
fn of_job(part: &str) -> String {
    format!("{JOB}/{part}")
}

/// A job: finished, so every member that can have a value has one.
fn job() -> Value {
    let objective = Objective::of_layer(ObjectiveKind::L2, "block2");
    let spec = DreamSpec {
        objectives: vec![objective],
        octaves: Count::Of(2),
        iterations: Count::Of(2),
        seed: 7,
        preserve_colors: Share(0.55),
        ..DreamSpec::of_preset(Preset::default())
    };
    json!({
        "id": JOB.rsplit('/').next(),
        "status": "succeeded",
        "spec": spec,
        "steering": null,
        "progress": {
            "fraction": 1.0, "octave": 2, "octaves": 2, "iteration": 2, "iterations": 2,
            "iterations_per_second": 3.5, "score": 0.83, "resumed_from": 0.0,
        },
        "priority": 0,
        "queue_position": null,
        "eta_seconds": null,
        "attempt": 1,
        "cancel_requested": false,
        "pause_requested": false,
        "created_at": "2025-08-19T08:00:00.000Z",
        "started_at": "2025-08-19T08:00:00.012Z",
        "finished_at": "2025-08-19T08:00:00.512Z",
        "deadline_at": null,
        "error": null,
        "result": {
            "media_type": "image/png",
            "width": 64,
            "height": 64,
            "size": 7431,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "score": 0.91,
        },
        "notes": ["2 of 4 octaves were dreamed: the image is too small for a coarser one"],
        "metrics": {
            "queue_seconds": 0.012, "render_seconds": 0.43, "megapixel_iterations": 0.012242,
            "predicted_seconds": 0.471, "predicted_memory_mb": 4.7,
        },
        "links": {
            "self": JOB,
            "result": of_job("result"),
            "input": of_job("input"),
            "thumbnail": of_job("thumbnail"),
            "preview": null,
            "events": of_job("events"),
            "cancel": null,
            "pause": null,
            "resume": null,
        },
    })
}

/// What the job of the examples would have been predicted to take.
fn dry_run() -> Value {
    json!({
        "spec": job()["spec"],
        "predicted_seconds": 0.471,
        "predicted_memory_mb": 4.7,
        "megapixel_iterations": 0.012242,
        "queue_position": 1,
        "eta_seconds": 0.5,
        "accepted": true,
        "refusal": null,
    })
}

/// The event that ends a stream; its data is the job.
fn job_event() -> Value {
    json!({ "event": "succeeded", "id": "7", "data": job().to_string() })
}

fn usage() -> Value {
    let day = json!({
        "day": "2025-08-19", "jobs": 12, "succeeded": 11, "megapixel_iterations": 310.5, "render_seconds": 84.2,
        "result_bytes": 9_120_400,
    });
    json!({ "tenant": "lab", "stored_bytes": 31_457_280, "max_stored_bytes": 2_000_000_000_u64, "days": [day] })
}

fn upload() -> Value {
    let id = "0198c0de-5a7e-7000-8000-0000000000fe";
    let query =
        "expires=1755594000&key=0123456789abcdef&signature=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg";
    json!({
        "id": id, "url": format!("/v1/uploads/{id}?{query}"), "method": "PUT", "headers": {}, "max_bytes": 3_500_000,
        "expires_at": "2025-08-19T09:00:00.000Z",
    })
}

fn signed_links() -> Value {
    let signed = |part| {
        let query = "expires=1755594000&key=0123456789abcdef";
        format!("{}?{query}&signature=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg", of_job(part))
    };
    json!({
        "expires_at": "2025-08-19T09:00:00.000Z", "result": signed("result"), "preview": signed("preview"),
    })
}

/// A message that was delivered.
fn delivery() -> Value {
    json!({
        "id": "msg_0198c0de5a7e7000800000000000d0e5",
        "event": "succeeded",
        "url": "https://example.org/dreams",
        "state": "delivered",
        "created_at": "2025-08-19T08:00:00.512Z",
        "next_attempt_at": null,
        "attempts": [
            { "at": "2025-08-19T08:00:00.701Z", "status": 503, "error": null, "milliseconds": 84 },
            { "at": "2025-08-19T08:00:06.020Z", "status": 204, "error": null, "milliseconds": 61 },
        ],
    })
}

fn readiness() -> Value {
    let checks = json!({ "started": true, "accepting": true, "database": true, "store": true, "workers": 1 });
    json!({ "status": "ready", "checks": checks })
}

fn model() -> Value {
    json!({
        "id": "efficientnet-lite0",
        "description": "EfficientNet-Lite0, trained on ImageNet",
        "default": true,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "licence": "Apache-2.0",
        "default_layer": "block10",
        "featured_layers": ["block3", "block6", "block8", "block9", "block10", "block11"],
        "class_layer": "logits",
        "layers": 20,
        "preserve_colors": 0.55,
        "links": {
            "self": "/v1/models/efficientnet-lite0",
            "layers": "/v1/models/efficientnet-lite0/layers",
            "classes": "/v1/models/efficientnet-lite0/classes",
            "looks": "/v1/looks?model=efficientnet-lite0",
        },
    })
}

fn unreadable() -> Value {
    let reason = "this is a Git LFS pointer, not the model itself; fetch that with `git lfs pull`";
    json!({ "file": "vgg16.pth", "reason": reason })
}

fn looks() -> Value {
    let look = json!({
        "model": "efficientnet-lite0",
        "id": "animals",
        "title": "Animals",
        "description": "Dogs and other animals.",
        "spec": { "objectives": [{ "kind": "l2", "layer": "block10" }] },
        "picture": "/studio/looks/lite0-animals.webp",
    });
    json!({ "looks": [look] })
}

fn formats() -> Value {
    let format = |name: &str, description: &str, kind: &str, still: bool, animation: bool| {
        json!({
            "name": name, "description": description, "media_type": format!("{kind}/{name}"), "extension": name,
            "still": still, "animation": animation, "available": true, "reason": null,
        })
    };
    let mut video = format(
        "mp4",
        "H.264 video, for animations that are shared; where the server has `ffmpeg`.",
        "video",
        false,
        true,
    );
    video["available"] = false.into();
    let reason = "mp4 files are written by ffmpeg, and ffmpeg is not there; choose \"webp\", \"png\" or \"gif\" \
                  (operators: install ffmpeg, or name it in REVERIE_FFMPEG)";
    video["reason"] = reason.into();
    let mut jpeg = format(
        "jpeg",
        "Smaller, with a quality; has no transparency and no animations.",
        "image",
        true,
        false,
    );
    jpeg["extension"] = "jpg".into();
    json!({ "formats": [format("png", "Lossless; an animation as APNG.", "image", true, true), jpeg, video] })
}

fn key() -> Value {
    json!({
        "id": "0123456789abcdef",
        "tenant": "lab",
        "scopes": ["jobs:read", "jobs:write"],
        "max_priority": 5,
        "created_at": "2025-08-19T08:00:00.000Z",
        "expires_at": "2025-11-17T08:00:00.000Z",
        "revoked_at": null,
        "last_used_at": "2025-08-19T08:05:00.000Z",
    })
}

fn created_key() -> Value {
    let secret = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    json!({
        "key": format!("rvk_0123456789abcdef_{secret}"),
        "id": "0123456789abcdef",
        "tenant": "lab",
        "scopes": ["jobs:read", "jobs:write"],
        "max_priority": 5,
        "created_at": "2025-08-19T08:00:00.000Z",
        "expires_at": "2025-11-17T08:00:00.000Z",
    })
}

fn classes() -> Value {
    let class = |class: usize, name: &str| json!({ "class": class, "name": name });
    json!({ "model": "efficientnet-lite0", "classes": [class(291, "lion"), class(292, "tiger")] })
}

fn tile_pending() -> Value {
    let detail = "the tile is not rendered yet; workers render tiles while they have no job";
    json!({ "detail": detail, "wanted": 1 })
}

fn layers() -> Value {
    json!({
        "model": "efficientnet-lite0",
        "layers": [
            { "name": "block15", "kind": "Conv2D", "channels": 320, "stride": 32, "receptive_field": 851 },
            { "name": "logits", "kind": "MatMul", "channels": 1000, "stride": null, "receptive_field": null },
        ],
    })
}

/// A refusal without details.
fn problem(status: u16, kind: &str, title: &str, detail: &str, instance: &str) -> Value {
    json!({
        "type": format!("urn:reverie:problem:{kind}"),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
    })
}

fn invalid() -> Value {
    let detail = "0 is not allowed; give a whole number from 1 to 1000, or \"auto\"";
    let mut invalid =
        problem(422, "invalid", "Invalid request", &format!("/spec/iterations: {detail}"), JOBS);
    invalid["errors"] = json!([{ "pointer": "/spec/iterations", "detail": detail }]);
    invalid
}
