//! Counters as they were at some time: of many counters few are ever used, and only those are kept.

/// The counters that were not zero, by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sparse(Box<[(usize, u64)]>);

impl Sparse {
    /// What these are now.
    pub(super) fn of(counters: &[u64]) -> Sparse {
        Sparse(counters.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect())
    }

    /// Leaves of `counters`, which have only grown, what has come since.
    pub(super) fn take_from(&self, counters: &mut [u64]) {
        for (place, before) in &self.0 {
            if let Some(count) = counters.get_mut(*place) {
                *count = count.saturating_sub(*before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_is_left() {
        let before = Sparse::of(&[0, 3, 0, 5]);
        assert_eq!(before.0.len(), 2);
        let mut now = [1, 3, 0, 9];
        before.take_from(&mut now);
        assert_eq!(now, [1, 0, 0, 4]);
        Sparse::default().take_from(&mut now);
        assert_eq!(now, [1, 0, 0, 4]);
    }
}
