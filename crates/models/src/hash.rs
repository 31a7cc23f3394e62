//! The hashes that prove a file to be the known one.
//!
//! SHA-256, but for a file of 2014 whose publishers gave its SHA-1 alone. Two files of one SHA-1 can be made by who makes both;
//! a second one for a given file cannot be found, so an old file with a SHA-1 that was published with it is still that file.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use reverie_dream::digest;

/// The hash of a known file: lower-case hex digits, all of them or the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownHash<'a> {
    /// Of SHA-256.
    Sha256(&'a str),
    /// Of SHA-1.
    Sha1(&'a str),
}

impl<'a> KnownHash<'a> {
    /// The algorithm, for people.
    pub fn algorithm(self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha1(_) => "sha1",
        }
    }

    /// The digits.
    pub fn digits(self) -> &'a str {
        match self {
            Self::Sha256(digits) | Self::Sha1(digits) => digits,
        }
    }

    /// What is asked of a file: that its hash be, or begin with, the digits.
    pub fn demand(self) -> String {
        let whole = match self {
            Self::Sha256(_) => 64,
            Self::Sha1(_) => 40,
        };
        let digits = self.digits();
        if digits.len() < whole { format!("begin with {digits}") } else { format!("be {digits}") }
    }

    /// Whether a file of this hash, of the same algorithm, is the known one.
    pub fn fits(self, found: &str) -> bool {
        found.starts_with(self.digits())
    }

    /// Hashes a file in the way of this hash.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Sha1(_) => Hasher::Sha1(Sha1::new()),
        }
    }

    /// The hash of `file` in the way of this one; `sha256` is known already.
    pub(super) fn of(self, file: &[u8], sha256: &str) -> String {
        match self {
            Self::Sha256(_) => sha256.to_owned(),
            Self::Sha1(_) => digest::hex(&Sha1::digest(file)),
        }
    }
}

/// A hash while the file is read.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-1.
    Sha1(Sha1),
}

impl Hasher {
    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha1(hash) => hash.update(bytes),
        }
    }

    /// Lower-case hex digits.
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => digest::hex(&hash.finalize()),
            Self::Sha1(hash) => digest::hex(&hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of FIPS 180.
    #[test]
    fn files_are_hashed_as_their_known_hash_is() {
        let sha1 = KnownHash::Sha1("a9993e364706816aba3e25717850c26c9cd0d89d");
        let sha256 = KnownHash::Sha256("ba7816bf8f01cfea414140de5dae2223");
        for known in [sha1, sha256] {
            let mut hasher = known.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            let found = hasher.finish();
            assert!(known.fits(&found), "{found}");
            assert_eq!(known.of(b"abc", &digest::sha256(b"abc")), found);
            assert!(!known.fits(&known.of(b"", &digest::sha256(b""))));
        }
        assert_eq!(sha1.demand(), "be a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sha256.demand(), format!("begin with {}", sha256.digits()));
        assert_eq!(sha256.algorithm(), "sha256");
    }
}
