//! Error responses that several operations share. Each is a problem document (RFC 9457).

use utoipa::ToResponse;

use crate::http::problem::Problem;

macro_rules! refusals {
    ($($(#[$attribute:meta])* $name:ident;)+) => {
        $(
            #[derive(ToResponse)]
            $(#[$attribute])*
            #[response(content_type = "application/problem+json")]
            #[allow(dead_code, reason = "only its description is used")]
            pub struct $name(Problem);
        )+
    };
}

refusals! {
    /// The body or a header cannot be parsed, for example damaged JSON or a form that ends early.
    Malformed;
    /// The request has no key, or one that is unknown, expired or revoked.
    #[response(headers(("WWW-Authenticate" = String, description = "How to send a key (RFC 6750).")))]
    Unauthorized;
    /// The key lacks the scope that the operation needs.
    #[response(headers(("WWW-Authenticate" = String, description = "The missing scope (RFC 6750).")))]
    Forbidden;
    /// The resource does not exist, or belongs to another tenant.
    NotFound;
    /// The body arrives too slowly.
    TooSlow;
    /// The job has ended already.
    AlreadyFinished;
    /// The job has not failed.
    NotFailed;
    /// The last octave or frame has begun, or the job has ended or is being canceled: nothing is left that could change.
    NothingLeft;
    /// There is no result or preview, or none yet; `detail` says which.
    #[response(headers(
        ("Retry-After" = u64, description = "Seconds after which to poll again; only while the job is unfinished.")
    ))]
    NoResult;
    /// The job's pictures were erased because their retention time is over.
    Gone;
    /// The storage is full. The upload is not kept.
    #[response(headers(("Retry-After" = u64, description = "Seconds after which to retry.")))]
    StorageFull;
    /// The body exceeds the server's limit.
    TooLarge;
    /// The body is neither a form nor JSON, or it is compressed, or a file in it has an unsupported format;
    /// `errors` says which file. If the request has other errors too, the response is 422 and lists all of
    /// them.
    UnsupportedType;
    /// The range begins after the end of the file.
    #[response(headers(("Content-Range" = String, description = "Length of the file, such as `bytes */1234`.")))]
    BeyondEnd;
    /// The request is invalid, and `errors` lists every error; or the dream would take more seconds or memory
    /// than one job may, and `prediction` says how much and what would fit; or its `Idempotency-Key` was
    /// already used for a different request.
    Invalid;
    /// The tenant has used up a quota: its requests per second, its waiting jobs, or its stored bytes; `detail` says which.
    #[response(headers(
        ("Retry-After" = u64, description = "Seconds after which to retry."),
        ("RateLimit-Policy" = String, description = "The limit, such as `\"requests\";q=50;w=1`: 50 requests in 1 second; only where requests are limited."),
        ("RateLimit" = String, description = "What is left of it, such as `\"requests\";r=0;t=1`: none, for 1 second; only where requests are limited.")
    ))]
    QuotaExceeded;
    /// The queue is full; or the tenant has used up a quota, and the type is
    /// `urn:reverie:problem:quota-exceeded`.
    #[response(headers(
        ("Retry-After" = u64, description = "Predicted seconds until the queued jobs are done.")
    ))]
    QueueFull;
    /// Internal error; the server's log has the cause. The type is `urn:reverie:problem:result-lost` if the
    /// dream was rendered but its file is missing from the store.
    Internal;
    /// The server is stopping, or its storage is unavailable. The type is `urn:reverie:problem:newer-version`
    /// if a newer version, which may run beside this one, wrote the job.
    #[response(headers(("Retry-After" = u64, description = "Seconds after which to retry.")))]
    Unavailable;
}
