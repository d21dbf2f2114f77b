//! How many wait for one fetch: pingora's lock, which counts them.
//!
//! The leader of a collapsed miss that is slow holds up everyone behind it, so its copy is worth as many as wait for it
//! and costs each of them a share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::cache::CacheKey;
use pingora::cache::key::{CacheHashKey, HashBinary};
use pingora::cache::lock::{CacheKeyLock, CacheLock, LockStatus, Locked, WritePermit};

const SHARDS: usize = 16;
/// Keys counted in one shard. A fetch that ends without a word leaves its key behind; more than these are never under
/// way in earnest.
const MOST: usize = 4096;

/// A lock that knows its waiters.
#[derive(Debug)]
pub(super) struct Crowd {
    lock: Box<CacheLock>,
    waiters: [Mutex<HashMap<HashBinary, Arc<AtomicU32>>>; SHARDS],
}

impl Crowd {
    /// A lock whose fetches may take this long before another may compete.
    pub(super) fn new(age: Duration) -> Crowd {
        Crowd { lock: CacheLock::new_boxed(age), waiters: Default::default() }
    }

    /// Those who have come to wait for the fetch of this key since it began.
    pub(super) fn of(&self, key: &CacheKey) -> Option<Arc<AtomicU32>> {
        let hash = key.combined_bin();
        self.shard(&hash).lock().get(&hash).cloned()
    }

    fn shard(&self, hash: &HashBinary) -> &Mutex<HashMap<HashBinary, Arc<AtomicU32>>> {
        &self.waiters[usize::from(hash[0]) % SHARDS]
    }
}

impl CacheKeyLock for Crowd {
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked {
        let locked = self.lock.lock(key, stale_writer);
        let hash = key.combined_bin();
        let mut waiters = self.shard(&hash).lock();
        match &locked {
            Locked::Write(_) => {
                if waiters.len() >= MOST {
                    waiters.clear();
                }
                waiters.insert(hash, Arc::default());
            }
            Locked::Read(_) => {
                if let Some(count) = waiters.get(&hash) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        locked
    }

    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus) {
        let hash = key.combined_bin();
        self.shard(&hash).lock().remove(&hash);
        self.lock.release(key, permit, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_come_while_a_fetch_goes_on_are_counted() {
        let crowd = Crowd::new(Duration::from_secs(60));
        let (key, other) = (CacheKey::new("a", ""), CacheKey::new("b", ""));
        let Locked::Write(permit) = crowd.lock(&key, false) else { panic!("nobody is ahead") };
        let waiting = crowd.of(&key).unwrap();
        assert!(!crowd.lock(&key, false).is_write());
        assert!(!crowd.lock(&key, false).is_write());
        // A permit that is dropped unreleased panics in a debug build.
        let Locked::Write(others) = crowd.lock(&other, false) else { panic!("that is another key") };
        crowd.release(&other, others, LockStatus::Done);
        assert_eq!(waiting.load(Ordering::Relaxed), 2);
        crowd.release(&key, permit, LockStatus::Done);
        assert!(crowd.of(&key).is_none());
        let Locked::Write(next) = crowd.lock(&key, false) else { panic!("the first one is done") };
        assert_eq!(crowd.of(&key).unwrap().load(Ordering::Relaxed), 0);
        crowd.release(&key, next, LockStatus::Done);
    }
}
