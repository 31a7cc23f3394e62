//! The text of a key: `rvk_<id>_<secret>`, as a client sends it.
//!
//! The prefix lets scanners find keys that were published by mistake. The id is public: it finds the row, and
//! stands in logs. The secret has 256 random bits. So a plain digest protects it at rest: there is nothing to
//! guess that a slow digest would have to slow down.

use std::{fmt, str::FromStr};

use reverie_dream::digest;
use subtle::ConstantTimeEq;

/// How every key begins.
const PREFIX: &str = "rvk_";

/// Bytes of an id and of a secret; each is two hexadecimal digits.
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// The public part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        if is_hex(text, ID_BYTES) { Ok(Self(text.to_owned())) } else { Err(MalformedToken) }
    }
}

/// The text is not a key. The message does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a key; expected rvk_<id>_<secret> with {} and {} hexadecimal digits, in lower case",
    2 * ID_BYTES,
    2 * SECRET_BYTES
)]
pub struct MalformedToken;

/// A whole key. Neither `Debug` nor an error shows its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: KeyId,
    secret: String,
}

impl Token {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        Ok(Self { id: KeyId(digest::hex(&id)), secret: digest::hex(&secret) })
    }

    /// Its public part.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The digest of its secret part, for the store.
    pub fn digest(&self) -> SecretDigest {
        SecretDigest(digest::sha256(self.secret.as_bytes()))
    }

    /// The whole text, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }

    /// Whether a text holds what looks like a key.
    pub fn is_in(text: &str) -> bool {
        text.contains(PREFIX)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_…", self.id)
    }
}

impl FromStr for Token {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.ok_or(MalformedToken)?;
        if !is_hex(secret, SECRET_BYTES) {
            return Err(MalformedToken);
        }
        Ok(Self { id: id.parse()?, secret: secret.to_owned() })
    }
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// SHA-256 of a secret, in lower-case hex.
#[derive(Clone)]
pub struct SecretDigest(String);

impl SecretDigest {
    /// A digest as stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The digest as text, for the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the digest of the token's secret. The comparison takes the same time wherever they differ.
    pub fn matches(&self, token: &Token) -> bool {
        self.0.as_bytes().ct_eq(token.digest().0.as_bytes()).into()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use reverie_fields::arbitrary::quick;

    #[test]
    fn a_key_is_read_back_and_shows_its_secret_only_when_asked() {
        let token = Token::generate().unwrap();
        let text = token.reveal();
        let read: Token = text.parse().unwrap();
        assert_eq!((read.id(), text.len()), (token.id(), 4 + 16 + 1 + 64));
        assert!(token.digest().matches(&read));
        assert!(!Token::generate().unwrap().digest().matches(&token));
        let (_, secret) = text.rsplit_once('_').unwrap();
        assert!(!format!("{token:?} {:?}", token.digest()).contains(secret));
        assert!(!token.digest().as_str().contains(secret));
        assert_ne!(Token::generate().unwrap(), token);
    }

    #[test]
    fn other_texts_are_no_keys() {
        let text = Token::generate().unwrap().reveal();
        let upper = text.to_uppercase();
        for wrong in [
            "",
            "rvk_",
            "rvk__",
            &text[..84],
            &text[1..],
            &format!("{text}0"),
            &upper,
            &text.replace("rvk_", "rvk-"),
        ] {
            assert_eq!(wrong.parse::<Token>(), Err(MalformedToken), "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn any_text_is_a_key_or_is_not(text in "(rvk_)?[0-9a-f]{0,20}_?[0-9a-fg]{0,70}|.{0,90}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.reveal(), text);
            }
        }
    }
}
