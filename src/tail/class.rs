//! Which requests go first when not all can be served.

/// A request's priority, from the most to the least important.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What the site lives on: the last to be shed.
    Critical,
    /// What nothing is said about.
    #[default]
    Default,
    /// What nobody misses at once: the first to be shed.
    Sheddable,
}

impl Class {
    /// All of them, the most important one first.
    pub const ALL: [Class; 3] = [Class::Critical, Class::Default, Class::Sheddable];

    /// The word in the configuration, in headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::Default => "default",
            Class::Sheddable => "sheddable",
        }
    }

    /// Its place in [`Class::ALL`].
    pub fn index(self) -> usize {
        match self {
            Class::Critical => 0,
            Class::Default => 1,
            Class::Sheddable => 2,
        }
    }

    /// The class that this word names.
    pub fn of(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_word_and_a_place() {
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index);
            assert_eq!(Class::of(class.as_str()), Some(class));
        }
        assert_eq!(Class::of("urgent"), None);
        assert!(Class::Critical < Class::Sheddable);
    }
}
