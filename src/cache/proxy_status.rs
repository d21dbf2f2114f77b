//! How a proxy handled a response, told in `Proxy-Status` (RFC 9209).
//!
//! Beside the registered parameters there are three of our own (§2.2 leaves them open): `attempts`, `hedge` and
//! `hedge-delay`. They say how an answer was come by and nothing of where, so that everyone may read them; `next-hop`
//! says where.

use std::time::Duration;

use super::structured::{write_integer, write_item, write_string};

/// What became of one request on its way to an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handling<'a> {
    /// The error type of §2.3, if the answer is the proxy's own.
    pub error: Option<&'static str>,
    /// The word that says more of it (§2.1.5).
    pub details: Option<&'static str>,
    /// The backend that answered or was asked last, as `address:port`, for who may know it.
    pub next_hop: Option<&'a str>,
    /// Requests sent for this one: retries and copies count. Not told when there were none.
    pub attempts: u32,
    /// What became of the copy: `won`, `lost` or `denied`; `None` if the request was not late.
    pub hedge: Option<&'static str>,
    /// How long the request had waited when it was copied; told in whole milliseconds.
    pub hedge_delay: Option<Duration>,
}

impl Handling<'_> {
    /// Whether there is anything to tell.
    pub fn is_empty(&self) -> bool {
        *self == Handling::default()
    }

    /// Appends this proxy's member of `Proxy-Status` to `out`, without a comma before it. `name` is the proxy's.
    pub fn write_to(&self, name: &str, out: &mut String) {
        write_item(name, out);
        if let Some(error) = self.error {
            out.push_str("; error=");
            write_item(error, out);
        }
        if let Some(details) = self.details {
            out.push_str("; details=");
            write_string(details, out);
        }
        if let Some(next_hop) = self.next_hop {
            out.push_str("; next-hop=");
            write_string(next_hop, out);
        }
        if self.attempts > 0 {
            write_integer("; attempts=", self.attempts.into(), out);
        }
        if let Some(hedge) = self.hedge {
            out.push_str("; hedge=");
            write_item(hedge, out);
        }
        if let Some(delay) = self.hedge_delay {
            write_integer("; hedge-delay=", i64::try_from(delay.as_millis()).unwrap_or(i64::MAX), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(handling: Handling<'_>) -> String {
        let mut out = String::new();
        handling.write_to("edge", &mut out);
        out
    }

    #[test]
    fn what_there_is_to_tell_is_told_in_order() {
        assert_eq!(told(Handling::default()), "edge");
        assert_eq!(told(Handling { attempts: 1, ..Handling::default() }), "edge; attempts=1");
        let all = Handling {
            error: Some("connection_refused"),
            details: Some("one-word"),
            next_hop: Some("127.0.0.1:8001"),
            attempts: 2,
            hedge: Some("won"),
            hedge_delay: Some(Duration::from_micros(21_900)),
        };
        let expected = "edge; error=connection_refused; details=\"one-word\"; next-hop=\"127.0.0.1:8001\"; attempts=2; hedge=won; hedge-delay=21";
        assert_eq!(told(all), expected);
        assert_eq!(
            told(Handling { hedge: Some("denied"), attempts: 1, ..Handling::default() }),
            "edge; attempts=1; hedge=denied"
        );
    }

    #[test]
    fn a_next_hop_is_always_a_string() {
        let told = |hop| told(Handling { next_hop: Some(hop), ..Handling::default() });
        assert_eq!(told("[::1]:80"), "edge; next-hop=\"[::1]:80\"");
        assert_eq!(told("origin.example:80"), "edge; next-hop=\"origin.example:80\"");
    }

    #[test]
    fn only_the_default_says_nothing() {
        assert!(Handling::default().is_empty());
        assert!(!Handling { attempts: 1, ..Handling::default() }.is_empty());
    }
}
