//! Why the last response for a key was not stored: the operator's commonest question, asked when the answer is gone.

use std::time::SystemTime;

use moka::sync::Cache;
use pingora::cache::key::HashBinary;

use crate::cache::storable::NotStorable;

/// Keys remembered. Who asks does so minutes after the request in question, so a few thousand are plenty; one takes
/// about 200 bytes.
const KEYS: u64 = 8192;

/// A bounded memory of refusals by key.
#[derive(Debug)]
pub struct Refusals(Cache<HashBinary, Refusal>);

/// A response that was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: NotStorable,
    /// When a response for the key was first refused for this.
    pub at: SystemTime,
}

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals(Cache::new(KEYS))
    }
}

impl Refusals {
    /// Notes what became of a response for a key: refused, or stored.
    pub fn note(&self, key: HashBinary, verdict: Result<(), Refusal>) {
        let before = self.0.get(&key);
        match verdict {
            // What is refused with every request is written once: reading is the cheaper of the two.
            Err(refusal) if before.is_some_and(|before| before.reason == refusal.reason) => {}
            Err(refusal) => self.0.insert(key, refusal),
            Ok(()) if before.is_some() => self.0.invalidate(&key),
            Ok(()) => {}
        }
    }

    /// Why the last response for a key was not stored, if it was not and is remembered.
    pub fn last(&self, key: &HashBinary) -> Option<Refusal> {
        self.0.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_no_longer_refused() {
        let refusals = Refusals::default();
        let refusal = Refusal { reason: NotStorable::SetCookie, at: SystemTime::UNIX_EPOCH };
        refusals.note([1; 16], Err(refusal));
        assert_eq!((refusals.last(&[1; 16]), refusals.last(&[2; 16])), (Some(refusal), None));
        refusals.note([1; 16], Ok(()));
        assert_eq!(refusals.last(&[1; 16]), None);
    }
}
