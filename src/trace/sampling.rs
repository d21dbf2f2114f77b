//! Which requests are recorded. At the start a share of them is drawn, or the caller has decided; what was not drawn is
//! judged again at its end, when it is known whether it is worth recording.

use std::time::Duration;

use crate::units::Ratio;

/// Why a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A caller that is believed records it.
    Parent,
    /// Chance: it is one of the share.
    Drawn,
    /// It failed.
    Failed,
    /// There was no place for it at the backends.
    Shed,
    /// A copy of it was sent to a second backend.
    Hedged,
    /// It took longer than what is usual.
    Slow,
}

impl Reason {
    /// The words of all of them, in the order of [`Reason::index`].
    pub const WORDS: &[&str] = &["parent", "drawn", "failed", "shed", "hedged", "slow"];

    /// Its place in [`Reason::WORDS`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for metric and span.
    pub fn as_str(self) -> &'static str {
        Reason::WORDS.get(self.index()).copied().unwrap_or_default()
    }
}

/// Decides at the start of a request. `parent` is whether the caller records it, if there is one whose word counts; `chance`
/// is uniform in 0 to 1, without 1. The id has no say: whoever chooses it would choose to be recorded.
pub fn at_start(share: Ratio, parent: Option<bool>, chance: f64) -> Option<Reason> {
    match parent {
        Some(true) => Some(Reason::Parent),
        Some(false) => None,
        None => (chance < share.get()).then_some(Reason::Drawn),
    }
}

/// What is recorded though it was not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What took longer than this, without the client's part; `None`: whatever it took, it is not for that.
    pub slow: Option<Duration>,
    /// What failed.
    pub failed: bool,
    /// What was copied to a second backend.
    pub hedged: bool,
    /// What got no place at the backends.
    pub shed: bool,
}

impl Default for Keep {
    /// What a tail is looked into for; half a second is slow on any site.
    fn default() -> Keep {
        Keep { slow: Some(Duration::from_millis(500)), failed: true, hedged: true, shed: true }
    }
}

impl Keep {
    /// Whether anything is.
    pub fn is_any(&self) -> bool {
        self.slow.is_some() || self.failed || self.hedged || self.shed
    }

    /// Decides at the end of a request.
    pub fn at_end(&self, end: &End) -> Option<Reason> {
        if self.shed && end.shed {
            Some(Reason::Shed)
        } else if self.failed && end.failed {
            Some(Reason::Failed)
        } else if self.hedged && end.hedged {
            Some(Reason::Hedged)
        } else {
            self.slow.filter(|slow| end.took > *slow).map(|_| Reason::Slow)
        }
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// How long it took, without what its client held up.
    pub took: Duration,
    /// Whether it failed, and not by its client.
    pub failed: bool,
    /// Whether a copy of it was sent.
    pub hedged: bool,
    /// Whether it got no place at the backends.
    pub shed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_decides_before_chance() {
        let one = Ratio::percent(1);
        assert_eq!(at_start(Ratio::ZERO, Some(true), 0.5), Some(Reason::Parent));
        assert_eq!(at_start(Ratio::ONE, Some(false), 0.0), None);
        assert_eq!(at_start(one, None, 0.0099), Some(Reason::Drawn));
        assert_eq!(at_start(one, None, 0.01), None);
        assert_eq!(at_start(Ratio::ZERO, None, 0.0), None);
    }

    #[test]
    fn the_end_says_what_is_worth_recording() {
        let keep = Keep { slow: Some(Duration::from_millis(500)), failed: true, hedged: true, shed: true };
        let end = |millis, failed, hedged, shed| End { took: Duration::from_millis(millis), failed, hedged, shed };
        assert_eq!(keep.at_end(&end(500, false, false, false)), None);
        assert_eq!(keep.at_end(&end(501, false, false, false)), Some(Reason::Slow));
        assert_eq!(keep.at_end(&end(501, false, true, false)), Some(Reason::Hedged));
        assert_eq!(keep.at_end(&end(501, true, true, false)), Some(Reason::Failed));
        assert_eq!(keep.at_end(&end(501, true, true, true)), Some(Reason::Shed));
        let nothing = Keep { slow: None, failed: false, hedged: false, shed: false };
        assert_eq!(nothing.at_end(&end(9_000, true, true, true)), None);
        assert!(keep.is_any() && !nothing.is_any());
    }

    #[test]
    fn a_word_is_found_by_its_place() {
        for (reason, word) in [(Reason::Parent, "parent"), (Reason::Drawn, "drawn"), (Reason::Slow, "slow")] {
            assert_eq!(reason.as_str(), word);
        }
    }
}
