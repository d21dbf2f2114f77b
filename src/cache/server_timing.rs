//! `Server-Timing`: what an origin says its time went to, and what we say of ours. (W3C Server Timing)
//!
//! What an origin says is shown to an operator and to nobody else, so it is read strictly and within limits: a member that is not to
//! be read is passed over, and so is all that follows the limits.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderMap;

/// The response field.
pub const SERVER_TIMING: &str = "Server-Timing";

/// Of one response, the members that are read.
pub const MOST: usize = 16;
/// Of all its lines, the bytes that are looked at.
const LONGEST: usize = 2048;
/// Bytes of a name.
const LONGEST_NAME: usize = 64;
/// Bytes of a description; longer ones are cut.
const LONGEST_DESCRIPTION: usize = 128;
/// The longest time that makes sense, in milliseconds: a day.
const LONGEST_TIME: f64 = 86_400_000.0;

/// One thing an origin says.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What it names it.
    pub name: String,
    /// How long it took.
    pub duration: Option<Duration>,
    /// What it says about it.
    pub description: Option<String>,
}

/// What a response says of its origin's time: at most [`MOST`] members.
pub fn read(headers: &HeaderMap) -> Vec<Said> {
    let (mut said, mut left) = (Vec::new(), LONGEST);
    for line in headers.get_all(SERVER_TIMING) {
        let Some(text) = line.to_str().ok().and_then(|text| text.get(..text.len().min(left))) else { continue };
        left -= text.len();
        for member in parts(text, ',') {
            if said.len() == MOST {
                return said;
            }
            said.extend(read_member(member));
        }
    }
    said
}

fn read_member(text: &str) -> Option<Said> {
    let mut params = parts(text, ';');
    let name = params.next().map(str::trim).filter(|name| is_token(name) && name.len() <= LONGEST_NAME)?;
    let mut said = Said { name: name.to_owned(), duration: None, description: None };
    for param in params {
        let Some((key, value)) = param.split_once('=') else { continue };
        let value = unquoted(value.trim());
        // Of several the first counts.
        match key.trim() {
            key if key.eq_ignore_ascii_case("dur") && said.duration.is_none() => said.duration = time(&value),
            key if key.eq_ignore_ascii_case("desc") && said.description.is_none() => {
                said.description = Some(value.chars().filter(|c| !c.is_control()).take(LONGEST_DESCRIPTION).collect());
            }
            _ => {}
        }
    }
    Some(said)
}

/// The pieces between separators outside of quotes.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let is_end = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        is_end
    })
}

/// A token, or what a quoted string says (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"') else { return value.to_owned() };
    let mut said = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next().filter(|c| *c != '"') {
        said.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    said
}

/// Milliseconds as a plain decimal number.
fn time(value: &str) -> Option<Duration> {
    let is_plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let millis: f64 = is_plain.then(|| value.parse().ok())??;
    (millis <= LONGEST_TIME).then(|| Duration::from_secs_f64(millis / 1e3))
}

fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// A value of ours: under our `name`, which is a token, the time that has passed and `cache`'s word; then each part of that time.
pub fn write<'a>(name: &str, cache: &str, total: Duration, parts: impl Iterator<Item = (&'a str, Duration)>) -> String {
    let mut value = format!("{name};dur={};desc={cache}", Millis(total));
    for (part, time) in parts {
        // Writing to a String cannot fail.
        let _infallible = write!(value, ", {name}-{part};dur={}", Millis(time));
    }
    value
}

/// Milliseconds to the microsecond.
struct Millis(Duration);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_millis(), self.0.subsec_micros() % 1000)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read_lines(lines: &[&str]) -> Vec<Said> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SERVER_TIMING, HeaderValue::from_str(line).unwrap());
        }
        read(&headers)
    }

    fn said(name: &str, micros: Option<u64>, description: Option<&str>) -> Said {
        Said {
            name: name.to_owned(),
            duration: micros.map(Duration::from_micros),
            description: description.map(str::to_owned),
        }
    }

    #[test]
    fn what_profilers_send_is_read() {
        assert_eq!(
            read_lines(&["db;dur=53.2, render;dur=40;desc=\"Jinja, \\\"fast\\\"\"", "cache;desc=miss, total;dur=.5"]),
            [
                said("db", Some(53_200), None),
                said("render", Some(40_000), Some("Jinja, \"fast\"")),
                said("cache", None, Some("miss")),
                said("total", Some(500), None),
            ]
        );
        assert_eq!(read_lines(&[" sql ; DUR = \"7\" ; dur=9"]), [said("sql", Some(7_000), None)]);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for odd in ["", ",", ";dur=1", "a b;dur=1", "\"db\";dur=1"] {
            assert_eq!(read_lines(&[&format!("{odd}, ok")]).last(), Some(&said("ok", None, None)), "{odd}");
        }
        for odd in ["-1", "1e9", "inf", "NaN", "0x10", "1.2.3", "", "86400001", "99999999999999999999999999"] {
            assert_eq!(read_lines(&[&format!("db;dur={odd}")]), [said("db", None, None)], "{odd}");
        }
    }

    #[test]
    fn an_origin_cannot_fill_memory() {
        let many = ["a;dur=1"; 100].join(",");
        assert_eq!(read_lines(&[&many]).len(), MOST);
        assert!(read_lines(&[&"n".repeat(LONGEST_NAME + 1)]).is_empty());
        let long = format!("a;desc=\"{}\"", "x".repeat(1000));
        assert_eq!(read_lines(&[&long])[0].description.as_ref().map(String::len), Some(LONGEST_DESCRIPTION));
        let padded = format!("{}, late;dur=1", " ".repeat(LONGEST));
        assert!(read_lines(&[&padded]).is_empty());
    }

    #[test]
    fn ours_can_be_read() {
        let parts = [("first-byte", Duration::from_micros(12_345)), ("queue", Duration::from_nanos(999))];
        let value = write("hedgerow", "miss", Duration::from_millis(20), parts.into_iter());
        assert_eq!(value, "hedgerow;dur=20.000;desc=miss, hedgerow-first-byte;dur=12.345, hedgerow-queue;dur=0.000");
        let names: Vec<_> = read_lines(&[&value]).into_iter().map(|said| said.name).collect();
        assert_eq!(names, ["hedgerow", "hedgerow-first-byte", "hedgerow-queue"]);
    }

    proptest! {
        #[test]
        fn nothing_an_origin_sends_breaks_it(lines in proptest::collection::vec("[ -~]{0,300}", 0..4)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let said = read_lines(&lines);
            prop_assert!(said.len() <= MOST);
            prop_assert!(said.iter().all(|said| is_token(&said.name)));
        }
    }
}
