//! The line that tools older than JSON read: Common Log Format, and Combined, which says where a client came from and
//! what it is.

use std::io::{self, Write};
use std::time::SystemTime;

use super::record::{Record, instant};
use crate::text::Address;

/// What only Combined says of a request; empty where it is not there, or not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agent<'a> {
    /// `Referer`.
    pub referer: &'a [u8],
    /// `User-Agent`.
    pub user_agent: &'a [u8],
}

impl<'a> Agent<'a> {
    /// Of these fields; `find` gives the first value of one.
    pub fn of(find: impl Fn(&str) -> Option<&'a [u8]>) -> Agent<'a> {
        Agent { referer: find("referer").unwrap_or_default(), user_agent: find("user-agent").unwrap_or_default() }
    }
}

/// Appends the line, with its line feed.
pub(super) fn write(record: &Record<'_>, is_combined: bool, line: &mut Vec<u8>) -> io::Result<()> {
    match record.client {
        Some(client) => line.extend_from_slice(Address::of(client).as_bytes()),
        None => line.push(b'-'),
    }
    line.extend_from_slice(b" - - [");
    write_time(record.time, line);
    line.extend_from_slice(b"] \"");
    // As it would stand in the request line; a head that could not be read has none.
    for (place, word) in [record.method, record.path, record.protocol].iter().filter(|w| !w.is_empty()).enumerate() {
        line.extend_from_slice(if place == 0 { b"" } else { b" " });
        escape(word.as_bytes(), line);
    }
    write!(line, "\" {} ", record.status)?;
    match record.bytes {
        0 => line.push(b'-'),
        bytes => write!(line, "{bytes}")?,
    }
    if is_combined {
        for value in [record.agent.referer, record.agent.user_agent] {
            line.extend_from_slice(b" \"");
            if value.is_empty() {
                line.push(b'-');
            }
            escape(value, line);
            line.push(b'"');
        }
    }
    line.push(b'\n');
    Ok(())
}

/// `10/Oct/2000:13:55:36 +0000`
fn write_time(time: SystemTime, line: &mut Vec<u8>) {
    // `Tue, 10 Oct 2000 13:55:36 GMT`
    let date = httpdate::fmt_http_date(instant(time));
    let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
    for part in [part(5..7), "/", part(8..11), "/", part(12..16), ":", part(17..25), " +0000"] {
        line.extend_from_slice(part.as_bytes());
    }
}

/// As Apache and nginx do it: what could end the field or the line is written in digits.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
                line.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
            }
            byte => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::record::tests::SAMPLE;

    fn line(record: &Record<'_>, is_combined: bool) -> String {
        let mut line = Vec::new();
        write(record, is_combined, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_reads_as_old_tools_want_it() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(971_186_136);
        let record = Record { time, agent: Agent { referer: b"http://a/", user_agent: b"curl/8" }, ..SAMPLE };
        let common = "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 1024";
        assert_eq!(line(&record, false), format!("{common}\n"));
        assert_eq!(line(&record, true), format!("{common} \"http://a/\" \"curl/8\"\n"));
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let record = Record { client: None, method: "", path: "", protocol: "", bytes: 0, status: 0, ..SAMPLE };
        assert_eq!(line(&record, true), "- - - [01/Jan/1970:00:00:00 +0000] \"\" 0 - \"-\" \"-\"\n");
    }

    #[test]
    fn no_client_can_forge_a_field_or_a_line() {
        let agent = Agent { referer: b"\" 200 1 \"x", user_agent: b"a\nb\x1b[2J\\\xff" };
        let written = line(&Record { path: "/\"\r\n", agent, ..SAMPLE }, true);
        assert!(written.contains(r#""GET /\x22\x0d\x0a HTTP/1.1" 200"#), "{written}");
        assert!(written.ends_with("\"\\x22 200 1 \\x22x\" \"a\\x0ab\\x1b[2J\\x5c\\xff\"\n"), "{written}");
        assert_eq!(written.matches('"').count(), 6);
    }
}
