//! Errors of the blob store, and their cause: the blob, the disk, or an unavailable store.

use std::{error::Error, io};

use super::ObjectKey;

/// Error codes for a full store: MinIO, Ceph, and some others.
const FULL: [&str; 4] = ["XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity"];

/// Why a blob could not be stored, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The blob does not exist.
    #[error("there is no object {0}")]
    NotFound(ObjectKey),
    /// The store failed.
    #[error("object {key}: {}", reason(source))]
    Store {
        /// Key of the blob.
        key: ObjectKey,
        /// The store's error.
        source: object_store::Error,
    },
    /// The folders cannot be created.
    #[error("{path}: {source}")]
    Prepare {
        /// The folder.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("the blob store cannot be opened: {}", reason(.0))]
    Open(object_store::Error),
    /// Listing the blobs failed.
    #[error("the blob store cannot be listed: {}", reason(.0))]
    List(object_store::Error),
    /// The test blob cannot be stored or deleted.
    #[error("the blob store accepts no blobs: {}", reason(.0))]
    Probe(object_store::Error),
    /// Deleting blobs failed.
    #[error("objects cannot be deleted: {}", reason(.0))]
    Delete(object_store::Error),
    /// The bucket is unusable with this configuration.
    #[error(
        "{place} cannot be used: {reason}. storage.objects names the bucket, s3.endpoint and s3.region say where it \
         is, and the credentials come from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web \
         identity, or the machine's role)"
    )]
    Refused {
        /// Bucket and endpoint.
        place: String,
        /// The store's reason.
        reason: String,
    },
    /// The bucket does not answer, or only with errors.
    #[error("{place} cannot be reached: {reason}")]
    Away {
        /// Bucket and endpoint.
        place: String,
        /// The response or error.
        reason: String,
    },
}

impl ObjectError {
    /// Whether the disk is full or its quota used up.
    pub fn is_full(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            }
            cause = error.source();
        }
        match self {
            Self::Store { source, .. } | Self::Probe(source) => {
                let text = source.to_string();
                status(&text) == Some(507) || code(&text).is_some_and(|code| FULL.contains(&code))
            }
            _ => false,
        }
    }

    /// Whether waiting may help: the blob is not missing, and the store is not full.
    pub fn is_down(&self) -> bool {
        !matches!(self, Self::NotFound(_)) && !self.is_full()
    }

    /// The error for a task that was aborted inside the process.
    pub fn cut_off(key: ObjectKey, cut: impl Error + Send + Sync + 'static) -> Self {
        Self::Store { key, source: object_store::Error::Generic { store: "task", source: Box::new(cut) } }
    }

    /// Wraps a store's error about one blob.
    pub(super) fn of(key: ObjectKey, source: object_store::Error) -> Self {
        if is_missing(&source) { Self::NotFound(key) } else { Self::Store { key, source } }
    }
}

/// Whether a blob is missing. A missing bucket has the same status but is a different error.
pub(super) fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && code(&error.to_string()) != Some("NoSuchBucket")
}

/// Whether an S3 store understood and refused: the same request will always fail.
pub(super) fn is_refusal(error: &object_store::Error) -> bool {
    let text = error.to_string();
    match status(&text) {
        Some(408 | 429) => false,
        Some(status) => (400..500).contains(&status),
        // Amazon's response if the bucket is in another region.
        None => text.contains("redirect without LOCATION") || text.contains("NoSuchBucket"),
    }
}

/// The reason in a few words. An S3 store answers with a whole document, of which code and message matter; of
/// any other error, the root cause says most.
pub(super) fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    if text.contains("169.254.169.254") {
        return "the environment has no credentials, and this machine has no role".into();
    }
    match (code(&text), between(&text, "<Message>", "</Message>"), status(&text)) {
        (Some(code), Some(message), _) if !message.is_empty() => format!("{code}: {message}"),
        (Some(code), ..) => code.to_owned(),
        (None, _, Some(status)) => format!("the response has status {status}"),
        _ if text.contains("redirect without LOCATION") => "the bucket is in another region".into(),
        _ => root(error),
    }
}

fn root(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// The code in an S3 store's response. The library keeps the response only in the text of its error.
fn code(text: &str) -> Option<&str> {
    between(text, "<Code>", "</Code>")
}

/// The status of an S3 store's response.
fn status(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobId;

    fn answered(status: &str, code: &str) -> object_store::Error {
        let text = format!(
            "Error performing GET http://s3/b/k in 1ms - Server returned non-2xx status code: {status}: \
             <?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>why</Message></Error>"
        );
        let source = text.into();
        match status.get(..3) {
            Some("404") => object_store::Error::NotFound { path: "k".into(), source },
            _ => object_store::Error::Generic { store: "S3", source },
        }
    }

    #[test]
    fn answers_of_a_store_are_told_apart() {
        let of = |status, code| ObjectError::of(ObjectKey::Input(JobId::new()), answered(status, code));
        assert!(matches!(of("404 Not Found", "NoSuchKey"), ObjectError::NotFound(_)));
        let bucket = of("404 Not Found", "NoSuchBucket");
        assert!(bucket.is_down() && bucket.to_string().ends_with("NoSuchBucket: why"), "{bucket}");
        let busy = of("503 Service Unavailable", "SlowDown");
        assert!(busy.is_down() && !busy.is_full());
        for full in
            [of("507 Insufficient Storage", "XMinioStorageFull"), of("403 Forbidden", "QuotaExceeded")]
        {
            assert!(full.is_full() && !full.is_down(), "{full}");
        }
        assert!(is_refusal(&answered("403 Forbidden", "InvalidAccessKeyId")));
        assert!(is_refusal(&answered("404 Not Found", "NoSuchBucket")));
        for passing in ["429 Too Many Requests", "500 Internal Server Error", "503 Service Unavailable"] {
            assert!(!is_refusal(&answered(passing, "SlowDown")), "{passing}");
        }
    }
}
