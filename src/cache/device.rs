//! What kind of device asks, by rule.
//!
//! Sites that send phones another page than desktops choose by `User-Agent`, of which there are as many as there are
//! people. Rules reduce it to a class; the class is part of the key and is told to the backend in a field of its own
//! ([`FIELD`]), which is to choose by that.

use http::HeaderMap;
use http::header::{HeaderName, USER_AGENT};

/// The request field that tells the backend the class; a client's own is dropped.
pub const FIELD: HeaderName = HeaderName::from_static("x-device-class");
/// The class of what no rule matches.
pub const OTHER: &str = "other";

/// A class and the agents that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: the value of [`FIELD`].
    pub class: String,
    /// A `User-Agent`, in which `*` stands for anything; case does not count.
    pub user_agent: String,
}

/// The class of the first rule that the request's `User-Agent` matches; [`OTHER`] if none does.
pub fn class<'r>(rules: &'r [Rule], request: &HeaderMap) -> &'r str {
    let agent = request.get(USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
    rules.iter().find(|rule| matches(rule.user_agent.as_bytes(), agent)).map_or(OTHER, |rule| &rule.class)
}

/// Whether `text` is what `pattern` says. Each piece between stars is taken where it first fits, which suffices: time
/// is at most the product of both lengths, whatever a client sends.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut pieces = pattern.split(|b| *b == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.get(first.len()..).filter(|_| text[..first.len()].eq_ignore_ascii_case(first)) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.len() >= piece.len() && rest[rest.len() - piece.len()..].eq_ignore_ascii_case(piece);
        }
        if piece.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(piece.len()).position(|window| window.eq_ignore_ascii_case(piece)) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in [
            ("*iPad*", "Mozilla/5.0 (iPad; CPU)"),
            ("*ipad*", "IPAD"),
            ("*", ""),
            ("a*b*c", "a__bb_c"),
            ("a*b*c", "abc"),
            ("curl/*", "curl/8"),
            ("**x**", "axb"),
            ("abc", "ABC"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("a*a", "a"), ("abc", "abcd"), ("", "a"), ("a*b", "ba"), ("*x", "xy"), ("ab", "a")] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_names_the_class() {
        let rule = |class: &str, agent: &str| Rule { class: class.into(), user_agent: agent.into() };
        let rules = [rule("tablet", "*iPad*"), rule("mobile", "*Mobile*")];
        let of =
            |agent: &'static str| class(&rules, &[(USER_AGENT, HeaderValue::from_static(agent))].into_iter().collect());
        assert_eq!((of("iPad Mobile"), of("Android Mobile"), of("X11")), ("tablet", "mobile", OTHER));
        assert_eq!(class(&rules, &HeaderMap::new()), OTHER);
    }
}
