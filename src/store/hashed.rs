//! A hasher for keys that are hashes already.

use std::hash::{BuildHasherDefault, Hasher};

/// Takes eight bytes of the key for its hash.
///
/// Whoever can choose keys must not be able to choose these bytes. Slots of the store are SipHashes under a secret (see
/// `cache/digest.rs`), or hashes of such; names in the book of purges are as well.
pub(super) type AsIs = BuildHasherDefault<First>;

/// See [`AsIs`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct First(u64);

impl Hasher for First {
    /// Of an array its length comes first; what is written last counts.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn a_key_is_its_own_hash() {
        let slot: [u8; 16] = std::array::from_fn(|at| at as u8);
        assert_eq!(AsIs::default().hash_one(slot), u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(AsIs::default().hash_one(77_u64), 77);
    }
}
