//! The backends a request must not go to: ejected ones, and those it was already sent to.

/// A set of backends by their index in the pool. It allocates only once an index of 64 or more is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclude {
    first: u64,
    rest: Vec<u64>,
}

const BITS: usize = u64::BITS as usize;

impl Exclude {
    /// Excludes nobody.
    pub const fn none() -> Exclude {
        Exclude { first: 0, rest: Vec::new() }
    }

    /// Excludes the backend at `index` too.
    pub fn add(&mut self, index: usize) {
        let bit = 1 << (index % BITS);
        match (index / BITS).checked_sub(1) {
            None => self.first |= bit,
            Some(word) => {
                if self.rest.len() <= word {
                    self.rest.resize(word + 1, 0);
                }
                self.rest[word] |= bit;
            }
        }
    }

    /// Whether the backend at `index` is excluded.
    pub fn contains(&self, index: usize) -> bool {
        let word = match (index / BITS).checked_sub(1) {
            None => self.first,
            Some(word) => self.rest.get(word).copied().unwrap_or(0),
        };
        word >> (index % BITS) & 1 == 1
    }
}

impl FromIterator<usize> for Exclude {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Exclude {
        let mut exclude = Exclude::none();
        indices.into_iter().for_each(|index| exclude.add(index));
        exclude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_is_excluded() {
        let added = [0, 1, 63, 64, 127, 128, 700];
        let exclude: Exclude = added.into_iter().collect();
        for index in 0..1_000 {
            assert_eq!(exclude.contains(index), added.contains(&index), "{index}");
        }
    }

    #[test]
    fn nobody_is_excluded_at_first() {
        assert!(!(0..200).any(|index| Exclude::none().contains(index)));
    }
}
