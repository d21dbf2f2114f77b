//! Small closed sets of words: an enum, its words, and a place for each in an array.
//!
//! A counter per word is an array indexed by the variant. A map from strings would format or hash on every request
//! and could grow without bound; an enum written out by hand keeps its list and its words in two places.

/// Defines an enum whose variants each have one word.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$inner])* $variant,)+ }

        impl $name {
            /// All, in the order of their indexes.
            pub const ALL: &[$name] = &[$($name::$variant,)+];
            /// The words of all, in the same order.
            pub const WORDS: &[&str] = &[$($word,)+];

            /// The word in labels, logs and headers.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The place in [`Self::ALL`] and [`Self::WORDS`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;
