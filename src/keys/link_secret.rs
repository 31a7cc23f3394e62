//! Secrets that sign links: only the server knows them, so a link with a right signature is one that it made.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::KeyId;

/// Fewest characters of a secret: 32 random hexadecimal digits have 128 bits.
const LEAST: usize = 32;

/// The text is too short. The message does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret for links needs at least {} characters; make one with openssl rand -hex 32", LEAST)]
pub struct WeakSecret;

/// A secret for links. `Debug` does not show it.
#[derive(Clone)]
pub struct LinkSecret {
    text: String,
    mac: Hmac<Sha256>,
}

/// What a link allows: one method on one path, until some time, by the permission of a key.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The method: `GET`, which allows `HEAD` too, or `PUT`.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// Seconds since 1970.
    pub expires: i64,
    /// The key on whose behalf.
    pub key: &'a KeyId,
}

impl LinkSecret {
    /// The signature of a link, as it stands in the URL.
    pub fn sign(&self, link: Link<'_>) -> String {
        URL_SAFE_NO_PAD.encode(self.mac_of(link).finalize().into_bytes())
    }

    /// Whether a signature is that of the link; compared in constant time.
    pub fn has_signed(&self, link: Link<'_>, signature: &str) -> bool {
        let bytes = URL_SAFE_NO_PAD.decode(signature);
        bytes.is_ok_and(|bytes| self.mac_of(link).verify_slice(&bytes).is_ok())
    }

    fn mac_of(&self, Link { method, path, expires, key }: Link<'_>) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        // No part has a line feed in it, so the parts cannot be shifted.
        mac.update(format!("{method}\n{path}\n{expires}\n{key}").as_bytes());
        mac
    }
}

impl PartialEq for LinkSecret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LinkSecret {}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a secret)")
    }
}

impl FromStr for LinkSecret {
    type Err = WeakSecret;

    fn from_str(text: &str) -> Result<Self, WeakSecret> {
        if text.len() < LEAST {
            return Err(WeakSecret);
        }
        let mac = Hmac::new_from_slice(text.as_bytes()).map_err(|_| WeakSecret)?;
        Ok(Self { text: text.to_owned(), mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_link_and_one_secret() {
        let secret: LinkSecret = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let (key, other): (KeyId, KeyId) =
            ("0123456789abcdef".parse().unwrap(), "0123456789abcdee".parse().unwrap());
        let link = Link { method: "GET", path: "/v1/jobs/1/result", expires: 17, key: &key };
        let signature = secret.sign(link);
        // By Python: hmac.new(secret, b"GET\n/v1/jobs/1/result\n17\n0123456789abcdef", "sha256").
        assert_eq!(signature, "Ao_2H23s375gW_T257FObZKwiihVyfHT6zN8bkPzQwg");
        assert!(secret.has_signed(link, &signature));
        for link in [
            Link { method: "GET", path: "/v1/jobs/2/result", ..link },
            Link { expires: 18, ..link },
            Link { key: &other, ..link },
        ] {
            assert!(!secret.has_signed(link, &signature), "{link:?}");
        }
        let next: LinkSecret = "0123456789abcdef0123456789abcdee".parse().unwrap();
        assert!(!next.has_signed(link, &signature));
        for wrong in ["", "AAAA", &signature[1..], &format!("{signature}=")] {
            assert!(!secret.has_signed(link, wrong), "{wrong}");
        }
        assert_eq!("too short".parse::<LinkSecret>().unwrap_err(), WeakSecret);
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
