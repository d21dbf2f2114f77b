//! Which of many locks guards a resource.

use pingora::cache::key::HashBinary;

/// Locks: many more than threads, so that two rarely meet.
pub(super) const COUNT: usize = 64;

/// The index of the lock for a resource, by its last byte: the first eight are its hash in the map behind the lock (see
/// `hashed.rs`), and of keys that share a lock they must not be alike.
pub(super) fn of(primary: &HashBinary) -> usize {
    usize::from(primary[primary.len() - 1]) % COUNT
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::super::hashed::AsIs;
    use super::*;

    #[test]
    fn keys_with_one_lock_have_different_hashes() {
        // A map takes the low bits of a hash for the place of a key.
        let low = |key: &HashBinary| AsIs::default().hash_one(key) % COUNT as u64;
        let keys = (0..=255).map(|n| -> HashBinary { [n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7] });
        let mut places: Vec<_> = keys.inspect(|key| assert_eq!(of(key), 7)).map(|key| low(&key)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), COUNT);
    }
}
