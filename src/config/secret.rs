//! A value that proves who asks: compared in constant time, and shown to nobody.

use std::fmt;
use std::sync::Arc;

use super::value::Value;

/// Shorter ones are guessed.
const SHORTEST: usize = 8;
/// Longer ones do not fit a header.
const LONGEST: usize = 256;
/// The same for what is sent to others, whose tokens may be long.
const LONGEST_FIELD: usize = 4096;
const SECRET: &str = "8 to 256 visible ASCII characters";
const FIELD: &str = "1 to 4096 visible ASCII characters, with spaces between them";

/// A secret: 8 to 256 visible ASCII characters, or a field's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: Arc<str>,
    /// The environment variable it comes from.
    variable: Option<Arc<str>>,
}

impl Secret {
    /// Whether `given` is the secret. The time this takes tells nothing but the secret's length.
    pub fn is(&self, given: &[u8]) -> bool {
        let ours = self.value.as_bytes();
        let differing = ours.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b));
        ours.len() == given.len() && std::hint::black_box(differing) == 0
    }

    /// What may be shown in its place: where it comes from.
    pub(super) fn shown(&self) -> String {
        self.variable.as_ref().map_or("(secret)".to_owned(), |name| format!("env:{name}"))
    }

    /// The secret, for whom it is meant to be told to.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// Reads `"env:NAME"` or the secret itself.
    pub(super) fn read(value: &Value<'_>) -> Option<Secret> {
        Secret::read_as(value, SECRET, is_usable)
    }

    /// Reads `"env:NAME"` or the value of a field that is sent to others.
    pub(super) fn read_field(value: &Value<'_>) -> Option<Secret> {
        Secret::read_as(value, FIELD, is_field)
    }

    fn read_as(value: &Value<'_>, expected: &str, is_usable: fn(&str) -> bool) -> Option<Secret> {
        let wanted = format!("\"env:NAME\" with the name of an environment variable, or {expected}");
        let text = value.text(&wanted)?;
        let Some(name) = text.strip_prefix("env:") else {
            if !is_usable(text) {
                // Not `expected`, which would show what was found.
                value.spot.error(format_args!("expected {wanted}"));
                return None;
            }
            return Some(Secret { value: text.into(), variable: None });
        };
        match std::env::var(name) {
            Ok(found) if is_usable(&found) => Some(Secret { value: found.into(), variable: Some(name.into()) }),
            Ok(_) => {
                value.spot.error(format_args!("the environment variable {name} is not {expected}"));
                None
            }
            Err(_) => {
                value.spot.error(format_args!("the environment variable {name} is not set"));
                None
            }
        }
    }
}

fn is_usable(text: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_field(text: &str) -> bool {
    let is_text = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    (1..=LONGEST_FIELD).contains(&text.len()) && is_text && text.trim_ascii() == text
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_the_secret_and_it_is_not_shown() {
        let secret = Secret { value: "correct-horse".into(), variable: None };
        assert!(secret.is(b"correct-horse"));
        for given in ["", "correct", "correct-horsf", "correct-horse2"] {
            assert!(!secret.is(given.as_bytes()), "{given}");
        }
        assert_eq!((format!("{secret:?}").as_str(), secret.shown().as_str()), ("Secret(…)", "(secret)"));
    }
}
