//! Secrets that sign webhooks, in the form of Standard Webhooks 1.0: `whsec_` and base64.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How every secret begins.
const PREFIX: &str = "whsec_";

/// Allowed lengths of a secret in bytes: as many bits as a guesser cannot try, and no more than the digest takes in.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The text is not a secret. The message does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a secret for webhooks; expected whsec_ and {} to {} bytes in base64", BYTES.start(), BYTES.end())]
pub struct MalformedSecret;

/// A secret that the server and a receiver share. `Debug` does not show it.
#[derive(Clone)]
pub struct WebhookSecret {
    bytes: Vec<u8>,
    mac: Hmac<Sha256>,
}

impl WebhookSecret {
    /// The signature of a message: its id, the time of this attempt in seconds since 1970, and its body.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = self.mac.clone();
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl PartialEq for WebhookSecret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for WebhookSecret {}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}…")
    }
}

impl FromStr for WebhookSecret {
    type Err = MalformedSecret;

    fn from_str(text: &str) -> Result<Self, MalformedSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(MalformedSecret)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| MalformedSecret)?;
        if !BYTES.contains(&bytes.len()) {
            return Err(MalformedSecret);
        }
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| MalformedSecret)?;
        Ok(Self { bytes, mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the libraries that Standard Webhooks publishes.
    #[test]
    fn a_message_is_signed_as_others_sign_it() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let bytes = |count: usize| format!("whsec_{}", STANDARD.encode(vec![1; count]));
        assert!(bytes(24).parse::<WebhookSecret>().is_ok() && bytes(64).parse::<WebhookSecret>().is_ok());
        for text in [bytes(23), bytes(65), "whsec_".into(), bytes(32)[6..].into(), "whsec_swordfish!".into()]
        {
            let refusal = text.parse::<WebhookSecret>().unwrap_err().to_string();
            assert!(!refusal.contains("swordfish"), "{refusal}");
        }
        assert_eq!(format!("{:?}", bytes(32).parse::<WebhookSecret>().unwrap()), "whsec_…");
    }
}
