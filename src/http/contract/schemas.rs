//! Request types, only for the OpenAPI document. The server reads requests field by field instead, to find
//! every error. A test compares these types with what the server accepts. The schema of the spec is made from the
//! table of its parameters, in `reverie_dream::spec`.
//!
//! No member has a `default` in its schema: generators of clients would make it required, or send it. The
//! descriptions tell the defaults.
#![allow(dead_code, reason = "only the descriptions are used")]

use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::Scope;
use reverie_dream::spec::SpecRequest;
use reverie_fields::choices;

/// A picture file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct ImageFile(Vec<u8>);

/// One server-sent event.
#[derive(Serialize, ToSchema)]
pub struct JobEvent {
    /// What happened: `progress`, `preview` and `paused` until the job ends, then its final state.
    event: JobEventName,
    /// Version of the job, for `Last-Event-ID`.
    id: String,
    /// The job as JSON, as `GET /v1/jobs/{id}` returns it.
    #[schema(content_media_type = "application/json")]
    data: String,
    /// Milliseconds before a client reconnects after a broken connection; in the first event.
    #[schema(nullable = false)]
    retry: Option<u64>,
}

choices! {
    /// Names of events.
    #[derive(Serialize)]
    pub enum JobEventName {
        /// The job is queued or running.
        Progress = "progress",
        /// An octave is finished: there is a new preview.
        Preview = "preview",
        /// The job is paused.
        Paused = "paused",
        /// The dream is finished.
        Succeeded = "succeeded",
        /// The job failed without a dream.
        Failed = "failed",
        /// A client canceled the job, and it stopped.
        Canceled = "canceled",
        /// Its deadline passed before it was done.
        Expired = "expired",
    }
}

choices! {
    /// The ends of a job that a webhook can be told of.
    #[derive(Serialize)]
    pub enum WebhookEvent {
        /// The dream is finished.
        Succeeded = "succeeded",
        /// The job failed without a dream.
        Failed = "failed",
        /// A client canceled the job, and it stopped.
        Canceled = "canceled",
        /// Its deadline passed before it was done.
        Expired = "expired",
    }
}

/// A job, and what of its dream stays. One of `octave` and `frame` is needed.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// Id of the job, in any state, as long as its pictures are kept.
    #[schema(format = Uuid)]
    job: String,
    /// The last octave that stays, counted from 1: a finished one, and not the dream's last. Of single pictures.
    #[schema(nullable = false, minimum = 1, maximum = 16)]
    octave: Option<u32>,
    /// The last frame that stays, counted from 1. Of animations.
    #[schema(nullable = false, minimum = 1, maximum = 1000)]
    frame: Option<u32>,
    /// Of animations: how many frames it takes the change to come in. 1 if absent: at once.
    #[schema(nullable = false, minimum = 1, maximum = 1000)]
    fade: Option<u32>,
}

/// A submission as a form.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitForm {
    /// A PNG, JPEG, WebP, GIF, BMP or TIFF file; also HEIC and AVIF if the server is built with libheif. Its
    /// first bytes decide, not its name or type. Or, in place of the file, the URL to fetch it from, or an upload that was
    /// sent ahead, as `urn:reverie:upload:` and its id. May be omitted if the dream starts from noise.
    #[schema(value_type = Option<String>, format = Binary, nullable = false)]
    image: Option<Vec<u8>>,
    /// An image of the same size as `image`, white where the dream may grow.
    #[schema(value_type = Option<String>, format = Binary, nullable = false)]
    mask: Option<Vec<u8>>,
    /// An image of any size for the dream to take up, where an objective is of kind `guide` or `guide-cosine`; like `image` a
    /// file or its URL.
    #[schema(value_type = Option<String>, format = Binary, nullable = false)]
    guide: Option<Vec<u8>>,
    /// The dream spec. With `from`, what changes: `objectives`, `step`, `total_variation` and `l2_decay` from the next octave or
    /// frame on, and `format`, `quality`, `lossless`, `recipe`, `preserve_colors`, `blend`, `auto_contrast` and `restore_size` of
    /// the finished dream. Of a `look` it takes these. What it leaves out is as in that job.
    #[schema(nullable = false)]
    spec: Option<SpecRequest>,
    /// Goes on from an octave of a job, or from a frame of an animation, with another dream. The pictures are those of that
    /// job.
    #[schema(nullable = false)]
    from: Option<ForkRequest>,
    /// Workers take jobs by priority plus minutes waited; 0 if absent.
    #[schema(nullable = false, minimum = -10, maximum = 10)]
    priority: Option<i8>,
    /// Seconds after which the job expires if it has not finished.
    #[schema(nullable = false, minimum = 1, maximum = 604_800)]
    deadline_seconds: Option<u64>,
    /// Where to tell of the job's end, an `https` URL. A POST by Standard Webhooks 1.0: `type` (`job.succeeded`, …),
    /// `timestamp`, and `data`, the job. Only where the operator has set secrets that sign it.
    #[schema(nullable = false, format = Uri, max_length = 2048)]
    webhook: Option<String>,
    /// The final states to tell of; all of them if absent.
    #[schema(nullable = false, min_items = 1)]
    webhook_events: Option<Vec<WebhookEvent>>,
}

/// A request for signed links.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRequest {
    /// Seconds for which they work; an hour if absent.
    #[schema(minimum = 1, maximum = 604_800)]
    expires_in_seconds: Option<u64>,
}

/// A request for an API key.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Whose jobs it opens: 1 to 64 lower-case letters, digits, dots, hyphens or underscores, a letter or digit
    /// first.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    tenant: String,
    /// What it allows.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// Seconds until it expires; if absent, it does not.
    #[schema(minimum = 1, maximum = 315_360_000)]
    expires_in_seconds: Option<u64>,
    /// Largest priority of its jobs; if absent, they may have any.
    #[schema(minimum = 0, maximum = 10)]
    max_priority: Option<i8>,
}

/// A picture, as a JSON body gives it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum PictureRequest {
    /// In itself, or by URL.
    Uri(PictureUri),
    /// Sent ahead.
    Upload(UploadReference),
}

/// A data URI (RFC 2397), or a URL to fetch the picture from.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, format = Uri, pattern = "^(data:|https?://)")]
pub struct PictureUri(String);

/// A picture that was sent ahead with `POST /v1/uploads`.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadReference {
    /// Id of the upload.
    #[schema(format = Uuid)]
    upload: String,
}

/// A request to send a picture ahead.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadRequest {
    /// Length of the file in bytes, or more; at most what a submission may have.
    #[schema(minimum = 1)]
    bytes: u64,
}

/// A submission as JSON.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitJson {
    /// The image file as a data URI (RFC 2397), or the URL that the server fetches it from: `https`, at a public address, within
    /// the limits of an upload; or an upload that was sent ahead. May be omitted if the dream starts from noise.
    image: Option<PictureRequest>,
    /// An image file of the same size as `image`, white where the dream may grow, given in the same way.
    mask: Option<PictureRequest>,
    /// An image file of any size for the dream to take up, where an objective is of kind `guide` or `guide-cosine`; given in the
    /// same way.
    guide: Option<PictureRequest>,
    /// The dream spec. With `from`, what changes: `objectives`, `step`, `total_variation` and `l2_decay` from the next octave or
    /// frame on, and `format`, `quality`, `lossless`, `recipe`, `preserve_colors`, `blend`, `auto_contrast` and `restore_size` of
    /// the finished dream. Of a `look` it takes these. What it leaves out is as in that job.
    spec: Option<SpecRequest>,
    /// Goes on from an octave of a job, or from a frame of an animation, with another dream. The pictures are those of that
    /// job.
    from: Option<ForkRequest>,
    /// Workers take jobs by priority plus minutes waited; 0 if absent.
    #[schema(minimum = -10, maximum = 10)]
    priority: Option<i8>,
    /// Seconds after which the job expires if it has not finished.
    #[schema(minimum = 1, maximum = 604_800)]
    deadline_seconds: Option<u64>,
    /// Where to tell of the job's end, an `https` URL. A POST by Standard Webhooks 1.0: `type` (`job.succeeded`, …),
    /// `timestamp`, and `data`, the job. Only where the operator has set secrets that sign it.
    #[schema(format = Uri, max_length = 2048)]
    webhook: Option<String>,
    /// The final states to tell of; all of them if absent.
    #[schema(min_items = 1)]
    webhook_events: Option<Vec<WebhookEvent>>,
}
