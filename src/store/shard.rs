//! Which of many locks guards a resource.

use pingora::cache::key::HashBinary;

/// Locks: many more than threads, so that two rarely meet.
pub(super) const COUNT: usize = 64;

/// The index of the lock for a resource. Keys are hashes already, so any byte will do.
pub(super) fn of(primary: &HashBinary) -> usize {
    usize::from(primary[0]) % COUNT
}
