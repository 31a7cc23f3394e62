//! Requests that the server sends for a client: pictures that are given by URL, and webhooks.
//!
//! A client chooses where they go, while they come from the server's network. So a guard stands before each: only
//! `https` (unless `egress.allow_http`), only hosts that are allowed, and only public addresses. A name is
//! looked up once, all its addresses must be allowed, and the connection goes to one of them: a name that changes its
//! address between check and use gains nothing. Redirects are checked in the same way. No connection is kept, so each
//! request is checked by itself. Size and time are bounded.
//!
//! With `egress.proxy` the proxy looks the names up, and has to refuse inner addresses; what a URL shows is checked
//! here all the same.

mod address;
mod resolver;
mod rules;

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Client, ClientBuilder, Proxy, header::HeaderMap, redirect};
use url::Url;

pub use resolver::{Lookup, SystemLookup};
pub use rules::LONGEST_URL;

use crate::config::EgressConfig;
use resolver::GuardedResolver;
use rules::Rules;

/// Most redirects that a fetch follows.
const MOST_REDIRECTS: usize = 3;

/// Time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for a whole fetch, from the look-up of the name to the last byte.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit for a whole delivery.
pub const POST_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request was not sent, or failed. The messages are for the client that gave the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The URL is longer than any that works everywhere.
    #[error("the URL is too long; at most {} bytes are allowed", LONGEST_URL)]
    LongUrl,
    /// The text is no URL.
    #[error("not a usable URL ({0}); give one such as https://example.org/picture.jpg")]
    NotAUrl(String),
    /// Another scheme than is allowed.
    #[error("the URL must begin with {}", schemes(.http))]
    Scheme {
        /// Whether `http` is allowed.
        http: bool,
    },
    /// The URL holds a name or a password.
    #[error("the URL must not hold a user name or password")]
    Credentials,
    /// The host is not on the operator's list.
    #[error("the host \"{0}\" is not allowed; the operator can add it to egress.allowed_hosts")]
    Host(String),
    /// The host is, or has, an address that is not public.
    #[error("the host \"{host}\" has an address that is not public ({what})")]
    Address {
        /// The host.
        host: String,
        /// What kind of address it is.
        what: &'static str,
    },
    /// The name has no address, or cannot be looked up.
    #[error("the host \"{0}\" has no address")]
    NoAddress(String),
    /// The answer leads on and on.
    #[error("the URL redirects more than {} times", MOST_REDIRECTS)]
    Redirects,
    /// The answer has another status than success.
    #[error("the server answered {0}")]
    Status(u16),
    /// The answer is too long.
    #[error("the answer is too long; at most {0} bytes are allowed")]
    TooLong(usize),
    /// There is no memory for the answer now.
    #[error("too many uploads are in progress; retry in a moment")]
    NoRoom,
    /// The exchange took too long.
    #[error("there was no whole answer within {0} seconds")]
    Timeout(u64),
    /// No connection, or one that broke.
    #[error("the connection failed: {0}")]
    Connection(&'static str),
    /// The HTTP client cannot be made: of the settings, or of the system's certificates.
    #[error("requests to other servers cannot be sent: {0} (egress)")]
    Client(String),
}

/// The schemes that are allowed.
fn schemes(http: &bool) -> &'static str {
    if *http { "https:// or http://" } else { "https://" }
}

/// Sends requests for clients. Clones share everything.
#[derive(Clone, Debug)]
pub struct Egress {
    rules: Arc<Rules>,
    /// Follows redirects.
    fetcher: Client,
    /// Follows none.
    poster: Client,
    /// Time limits for a fetch and for a post.
    limits: [Duration; 2],
}

impl Egress {
    /// A guard with the system's look-up of names.
    ///
    /// # Errors
    /// [`EgressError::Client`].
    pub fn new(config: &EgressConfig) -> Result<Self, EgressError> {
        Self::with_lookup(config, Arc::new(SystemLookup))
    }

    /// A guard that looks names up in its own way.
    ///
    /// # Errors
    /// [`EgressError::Client`].
    pub fn with_lookup(config: &EgressConfig, lookup: Arc<dyn Lookup>) -> Result<Self, EgressError> {
        let rules = Arc::new(Rules::new(config));
        let checked = Arc::clone(&rules);
        let following = redirect::Policy::custom(move |attempt| {
            // The first of the previous URLs is no redirect.
            if attempt.previous().len() > MOST_REDIRECTS {
                return attempt.error(EgressError::Redirects);
            }
            match checked.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(refusal) => attempt.error(refusal),
            }
        });
        let resolver = Arc::new(GuardedResolver { lookup, rules: Arc::clone(&rules) });
        let build = |redirects: redirect::Policy| {
            let builder = Client::builder()
                .user_agent(concat!("reverie/", env!("CARGO_PKG_VERSION")))
                .redirect(redirects)
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                // A kept connection would go to an address that was checked for another request.
                .pool_max_idle_per_host(0)
                // What is counted is what arrives.
                .no_gzip()
                .no_proxy();
            routed(builder, config, &resolver)?.build().map_err(|error| EgressError::Client(told(&error)))
        };
        let limits = [FETCH_TIMEOUT, POST_TIMEOUT];
        Ok(Self { fetcher: build(following)?, poster: build(redirect::Policy::none())?, rules, limits })
    }

    /// The same with another time limit, for tests.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limits: [limit; 2], ..self }
    }

    /// Reads a URL that a client gave, and checks it as far as that goes without looking its name up.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn read_url(&self, text: &str) -> Result<Url, EgressError> {
        self.rules.read(text)
    }

    /// Fetches what a URL leads to: at most `most` bytes, for each of which `room` says whether there is memory.
    ///
    /// # Errors
    /// Every reason why there is no whole answer with a status of success.
    pub async fn fetch(
        &self,
        url: Url,
        most: usize,
        mut room: impl FnMut(usize) -> bool,
    ) -> Result<Bytes, EgressError> {
        self.rules.check(&url)?;
        let [limit, _] = self.limits;
        let failed = |error: reqwest::Error| reason(&error, limit);
        let asked = self.fetcher.get(url).header("accept", "image/*, */*;q=0.5").timeout(limit);
        let mut response = asked.send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(EgressError::Status(response.status().as_u16()));
        }
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(EgressError::TooLong(most));
        }
        let (mut pieces, mut length) = (Vec::new(), 0_usize);
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            length += piece.len();
            if length > most {
                return Err(EgressError::TooLong(most));
            }
            if !room(piece.len()) {
                return Err(EgressError::NoRoom);
            }
            pieces.push(piece);
        }
        Ok(pieces.concat().into())
    }

    /// Posts a body and returns the status of the answer, whatever it is; the rest of the answer is not read.
    ///
    /// # Errors
    /// Every reason why there is no answer.
    pub async fn post(&self, url: Url, headers: HeaderMap, body: Bytes) -> Result<u16, EgressError> {
        self.rules.check(&url)?;
        let [_, limit] = self.limits;
        let request = self.poster.post(url).headers(headers).body(body).timeout(limit);
        let response = request.send().await.map_err(|error| reason(&error, limit))?;
        Ok(response.status().as_u16())
    }
}

/// Sends requests through the proxy, or to the addresses that the guard has checked. Through a proxy there is nothing to
/// look up but the proxy itself, which the operator chose.
fn routed(
    builder: ClientBuilder,
    config: &EgressConfig,
    resolver: &Arc<GuardedResolver>,
) -> Result<ClientBuilder, EgressError> {
    let Some(proxy) = &config.proxy else { return Ok(builder.dns_resolver(Arc::clone(resolver))) };
    // The error may repeat the URL, which may hold a password.
    let proxy = Proxy::all(proxy).map_err(|_| EgressError::Client("egress.proxy is not usable".into()))?;
    Ok(builder.proxy(proxy))
}

/// Finds the guard's refusal in an error of the HTTP client, or says in few words what happened.
fn reason(error: &reqwest::Error, limit: Duration) -> EgressError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref::<EgressError>() {
            return refusal.clone();
        }
        cause = current.source();
    }
    if error.is_timeout() && !error.is_connect() {
        return EgressError::Timeout(limit.as_secs());
    }
    EgressError::Connection(match error {
        error if error.is_connect() => "it cannot be opened, or its certificate is not trusted",
        error if error.is_redirect() => "a redirect leads to no usable URL",
        _ => "it broke before the whole answer was there",
    })
}

/// An error with its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text += &format!(": {current}");
        cause = current.source();
    }
    text
}
