//! The hash by which keys and variants are told apart: SipHash-2-4 with 128 bits, under a secret of this process.
//!
//! Two requests with one hash would get one answer, so nobody may be able to find such two. To who does not know the secret,
//! and sees no hash, SipHash's outputs are as random ones (Aumasson and Bernstein, 2012): with a billion keys the chance that any
//! two share one is 2^-69. A hash without a secret would have to withstand a search at leisure; of those BLAKE2, pingora's own,
//! took a seventh of a plain hit's instructions.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Drawn once: the system's randomness seeds the standard library's hasher, whose outputs are random to who does not know it.
static SECRET: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let drawn = RandomState::new();
    (drawn.hash_one(0), drawn.hash_one(1))
});

/// A hash being made.
#[derive(Debug)]
pub struct Digest(SipHasher24);

impl Default for Digest {
    fn default() -> Digest {
        let (first, second) = *SECRET;
        Digest(SipHasher24::new_with_keys(first, second))
    }
}

impl Digest {
    /// Goes on with these bytes. Where they are divided makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of all of them.
    pub fn finish(self) -> [u8; 16] {
        self.0.finish128().as_bytes()
    }

    /// That of one piece.
    pub fn of(bytes: &[u8]) -> [u8; 16] {
        let mut digest = Digest::default();
        digest.update(bytes);
        digest.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn different_bytes_have_different_hashes() {
        let hashes: std::collections::HashSet<_> = (0..10_000u32).map(|n| Digest::of(&n.to_be_bytes())).collect();
        assert_eq!(hashes.len(), 10_000);
        assert_ne!(Digest::of(b""), Digest::of(b"\0"));
    }

    #[test]
    fn the_secret_counts() {
        let with = |first, second| {
            let mut hash = SipHasher24::new_with_keys(first, second);
            hash.write(b"a");
            hash.finish128().as_bytes()
        };
        let (first, second) = *SECRET;
        assert_eq!(with(first, second), Digest::of(b"a"));
        assert_ne!(with(first ^ 1, second), Digest::of(b"a"));
        assert_ne!(with(first, second ^ 1), Digest::of(b"a"));
    }

    proptest! {
        #[test]
        fn where_bytes_are_divided_makes_no_difference(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..9)) {
            let mut digest = Digest::default();
            pieces.iter().for_each(|piece| digest.update(piece));
            prop_assert_eq!(digest.finish(), Digest::of(&pieces.concat()));
        }
    }
}
