//! A bucket of an S3-compatible store: opening it, checking it, large uploads, and signed URLs.
//!
//! `object_store` finds credentials in the environment. No message contains them: its errors contain URLs and
//! responses, and neither includes a secret.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::Method;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, Checksum},
    path::Path,
    prefix::PrefixStore,
    signer::{SignedUrlOptions, Signer},
};
use tracing::warn;

use super::{ObjectError, PROBE, error};
use crate::{
    config::S3Config,
    recent::{PROBE_TIME, Recent},
    retry::retry_with_backoff,
};

/// Size of the parts of a large upload: small enough to be sent within a request's time limit, and to be sent
/// again; large enough for stores that require 5 MiB.
const PART: usize = 8 << 20;

/// Number of parts uploaded in parallel.
const PARALLEL: usize = 4;

/// A bucket, or the part of it below a prefix.
#[derive(Debug)]
pub(super) struct S3 {
    /// For error messages.
    place: String,
    /// With short time limits and its own connections: those of other requests may have long queues.
    probing: PrefixStore<AmazonS3>,
    signer: AmazonS3,
    prefix: Path,
    last: Recent,
}

impl S3 {
    /// Opens a bucket without sending a request. `base` provides the credentials.
    pub fn new(
        bucket: &str,
        prefix: &str,
        config: &S3Config,
        base: AmazonS3Builder,
    ) -> Result<(Self, Arc<dyn ObjectStore>), ObjectError> {
        let mut builder = base
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(!config.path_style)
            .with_checksum_algorithm(Checksum::SHA256);
        if !config.region.is_empty() {
            builder = builder.with_region(&config.region);
        }
        if !config.endpoint.is_empty() {
            builder = builder.with_endpoint(endpoint(bucket, config));
        }
        // No limit for a whole response: its reader may be a slow client. A silent store times out.
        let options = ClientOptions::new()
            .with_allow_http(config.allow_http)
            .with_connect_timeout(config.connect_timeout)
            .with_timeout_disabled();
        let store = builder
            .clone()
            .with_client_options(options.clone().with_read_timeout(config.timeout))
            .with_retry(retries(usize::MAX, config.retry))
            .build()
            .map_err(ObjectError::Open)?;
        let probing = builder
            .with_credentials(Arc::clone(store.credentials()))
            .with_client_options(options.with_read_timeout(PROBE_TIME).with_pool_max_idle_per_host(0))
            .with_retry(retries(2, PROBE_TIME))
            .build()
            .map_err(ObjectError::Open)?;
        let prefix = Path::from(prefix);
        let at = if config.endpoint.is_empty() { "its default endpoint" } else { &config.endpoint };
        let s3 = Self {
            place: format!("the bucket \"{bucket}\" at {at}"),
            probing: PrefixStore::new(probing, prefix.clone()),
            signer: store.clone(),
            prefix: prefix.clone(),
            last: Recent::default(),
        };
        Ok((s3, Arc::new(PrefixStore::new(store, prefix))))
    }

    /// Waits until the bucket can be listed and written, for `timeout` at most. An error that waiting cannot
    /// fix ends the wait at once.
    pub async fn ready(&self, store: &dyn ObjectStore, timeout: Duration) -> Result<(), ObjectError> {
        let attempt = async || {
            store.list_with_delimiter(None).await?;
            store.put(&Path::from(PROBE), Bytes::from_static(b"reverie").into()).await
        };
        let may_pass = |source: &object_store::Error| !error::is_refusal(source);
        let report = |source: &object_store::Error| {
            warn!(reason = error::reason(source), "{} cannot be reached; trying again", self.place);
        };
        let outcome = retry_with_backoff(timeout, attempt, may_pass, report).await;
        let Err(source) = outcome else { return Ok(()) };
        let (place, reason) = (self.place.clone(), error::reason(&source));
        Err(match error::is_refusal(&source) {
            true => ObjectError::Refused { place, reason },
            false => ObjectError::Away { place, reason },
        })
    }

    /// Checks that the store accepts a blob, or did so a moment ago; with `now`, only a new check counts.
    pub async fn check(&self, now: bool) -> Result<(), ObjectError> {
        let answer = self.last.ask(now, async { self.probe().await.map_err(|error| error::reason(&error)) });
        answer.await.map_err(|reason| ObjectError::Away { place: self.place.clone(), reason })
    }

    async fn probe(&self) -> Result<(), object_store::Error> {
        let path = Path::from(PROBE);
        self.probing.put(&path, Bytes::from_static(b"reverie").into()).await?;
        match self.probing.delete(&path).await {
            // Another process may have deleted it.
            Err(error) if error::is_missing(&error) => Ok(()),
            ended => ended,
        }
    }

    /// A URL with which anyone can do this with a blob for a while.
    pub async fn sign(
        &self,
        method: Method,
        path: &Path,
        time: Duration,
        answer: &[(&str, &str)],
    ) -> Result<String, object_store::Error> {
        let path: Path = self.prefix.parts().chain(path.parts()).collect();
        let options = SignedUrlOptions::new().with_query(answer.iter().copied());
        let url = self.signer.signed_url_opts(method, &path, time, &options).await?;
        Ok(url.into())
    }
}

/// Uploads a blob, a large one in parts. It becomes visible completely, or not at all.
pub(super) async fn put(
    store: &dyn ObjectStore,
    path: &Path,
    mut bytes: Bytes,
) -> Result<(), object_store::Error> {
    if bytes.len() <= PART {
        return store.put(path, bytes.into()).await.map(drop);
    }
    let mut upload = store.put_multipart(path).await?;
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let part = bytes.split_to(PART.min(bytes.len()));
        parts.push(upload.put_part(part.into()));
    }
    let sent = stream::iter(parts).buffer_unordered(PARALLEL).try_collect::<()>().await;
    let ended = match sent {
        Ok(()) => upload.complete().await.map(drop),
        Err(error) => Err(error),
    };
    // Abandoned parts cost space until a rule of the bucket deletes them.
    if ended.is_err()
        && let Err(error) = upload.abort().await
    {
        warn!(reason = error::reason(&error), "the parts of a failed upload could not be deleted");
    }
    ended
}

/// The endpoint in the form that the client library expects: with the bucket in the host name if that style
/// is configured.
fn endpoint(bucket: &str, config: &S3Config) -> String {
    match config.endpoint.split_once("://") {
        Some((scheme, host)) if !config.path_style => format!("{scheme}://{bucket}.{host}"),
        _ => config.endpoint.clone(),
    }
}

fn retries(max_retries: usize, retry_timeout: Duration) -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries, retry_timeout }
}
