//! The refusals that several operations share. Each is a problem document (RFC 9457).

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
    /// The body cannot be taken apart, such as damaged JSON or a form that breaks off, or a header cannot be read.
    Malformed;
    /// There is no such thing.
    NotFound;
    /// The body stopped coming.
    TooSlow;
    /// The job has ended already.
    AlreadyFinished;
    /// There is no result or preview, or none yet; `detail` says which.
    #[response(headers(
        ("Retry-After" = u64, description = "Seconds after which to look again; only while the job is unfinished.")
    ))]
    NoResult;
    /// The job's pictures were erased, because the time for which results are kept is over.
    Gone;
    /// The storage is full. What was sent is not kept.
    #[response(headers(("Retry-After" = u64, description = "Seconds after which to try again.")))]
    StorageFull;
    /// The body is longer than the service allows.
    TooLarge;
    /// The body is neither a form nor JSON, or compressed, or a file in it is of a format that is not read; `errors` says
    /// which file. Where other things are wrong too, the answer is 422 and lists all of them.
    UnsupportedType;
    /// The range begins behind the end of the file.
    #[response(headers(("Content-Range" = String, description = "Length of the file, such as `bytes */1234`.")))]
    BeyondEnd;
    /// Something in the request is wrong, and `errors` lists all of it; or the dream would take more seconds or
    /// memory than one job may, and `prediction` says how much and what would fit; or its `Idempotency-Key` was used
    /// before for another request.
    Invalid;
    /// Every place in the queue is taken.
    #[response(headers(
        ("Retry-After" = u64, description = "Seconds that the jobs in the queue will probably take.")
    ))]
    QueueFull;
    /// Something is broken inside the service; its log has the cause. Of type `urn:reverie:problem:result-lost` where a
    /// dream was made and is not in the store any more.
    Internal;
    /// The service is stopping, or cannot reach its storage now. Of type `urn:reverie:problem:newer-version` where a newer
    /// version, which may work beside this one, has written the job.
    #[response(headers(("Retry-After" = u64, description = "Seconds after which to try again.")))]
    Unavailable;
}
