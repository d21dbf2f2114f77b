//! One request as one line.
//!
//! JSON and logfmt are written from one list of fields, so they cannot differ in keys or order (for older tools: `clf.rs`). Host, path, method and
//! request id are the client's to choose: every control character in them, and the two line separators of Unicode
//! that some readers break lines at, is escaped, so that no request can forge a line or drive a terminal. The
//! escaping is that of JSON strings in both forms; it is written out here because serde_json leaves DEL, the C1
//! controls and the line separators as they are.

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::clf::{self, Agent};
use super::labels::CacheResult;
use super::termination::Termination;
use crate::config::LogFormat;
use crate::text::{self, Address};
use crate::trace::context::TraceId;

/// The keys of a line, in order.
pub const KEYS: &[&str] = &[
    "time",
    "client",
    "method",
    "host",
    "path",
    "protocol",
    "status",
    "grpc_status",
    "bytes",
    "duration",
    "upstream_time",
    "route",
    "pool",
    "backend",
    "cache",
    "attempts",
    "hedge",
    "priority",
    "queue_time",
    "shed",
    "stale",
    "coding",
    "reason",
    "request_id",
    "trace_id",
    "generation",
];

/// One of [`KEYS`].
macro_rules! key {
    ($name:literal) => {
        Key {
            json_null: concat!(",\"", $name, "\":null"),
            json_text: concat!(",\"", $name, "\":\""),
            json: concat!(",\"", $name, "\":"),
            logfmt_absent: concat!(" ", $name, "=-"),
            logfmt: concat!(" ", $name, "="),
        }
    };
}

/// What is said about one request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When its head was read.
    pub time: SystemTime,
    /// The client's address, behind trusted proxies if there are any.
    pub client: Option<IpAddr>,
    /// As received; empty if the head could not be read, as `host`, `path` and `protocol`.
    pub method: &'a str,
    /// The authority asked for.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// E.g. `HTTP/1.1`.
    pub protocol: &'a str,
    /// What the client got; 0 if no response was begun.
    pub status: u16,
    /// The status of a gRPC call, if it was one and came to one.
    pub grpc_status: Option<&'static str>,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// From the head read to the last byte sent.
    pub duration: Duration,
    /// From the first attempt's start to the last byte from a backend; `None` if none was asked.
    pub upstream_time: Option<Duration>,
    /// The route's name, once one matched.
    pub route: Option<&'a str>,
    /// The pool's name, once a backend was to be asked.
    pub pool: Option<&'a str>,
    /// The backend that answered, or the last one asked.
    pub backend: Option<&'a str>,
    /// What the cache did.
    pub cache: CacheResult,
    /// Requests sent to backends for this one.
    pub attempts: u32,
    /// What became of the copy: `won`, `lost` or `denied`; `None` if it was not late.
    pub hedge: Option<&'a str>,
    /// How important it was, once it had a route.
    pub priority: Option<&'a str>,
    /// How long it waited for a place at the backends, if it had to.
    pub queue_time: Option<Duration>,
    /// Why it got none.
    pub shed: Option<&'a str>,
    /// Why a stale copy was the answer, if it was.
    pub stale: Option<&'a str>,
    /// The content coding of the body: `br`, `zstd`, `gzip` or `other`; `None` without one.
    pub coding: Option<&'a str>,
    /// Why it ended.
    pub reason: Termination,
    /// The value of `X-Request-Id`.
    pub request_id: &'a str,
    /// Its trace, if it belongs to one.
    pub trace: Option<TraceId>,
    /// Generation of the configuration it was answered under.
    pub generation: u64,
    /// What Combined says of its client, if that is written.
    pub agent: Agent<'a>,
}

impl<'a> Record<'a> {
    /// What is said of a request that was answered by `status` before it had a route, and ended for `reason`.
    pub fn unrouted(time: SystemTime, status: u16, reason: Termination, generation: u64) -> Record<'a> {
        Record {
            time,
            client: None,
            method: "",
            host: "",
            path: "",
            protocol: "",
            status,
            grpc_status: None,
            bytes: 0,
            duration: Duration::ZERO,
            upstream_time: None,
            route: None,
            pool: None,
            backend: None,
            cache: CacheResult::None,
            attempts: 0,
            hedge: None,
            priority: None,
            queue_time: None,
            shed: None,
            stale: None,
            coding: None,
            reason,
            request_id: "",
            trace: None,
            generation,
            agent: Agent::default(),
        }
    }

    /// Whether it is logged whatever the sample: failures, and what took as long as `slow`, are what a log is read for. Of
    /// requests over a rate there are as many as somebody cares to send.
    pub fn must_be_kept(&self, slow: Duration) -> bool {
        self.status >= 500
            || self.duration >= slow
            || !matches!(self.reason, Termination::Done | Termination::RateLimited)
    }

    /// Appends the line, with its line feed, to `line`.
    pub fn write(&self, format: LogFormat, line: &mut Vec<u8>) {
        match format {
            LogFormat::Json => self.fields(&mut Json(line)),
            LogFormat::Logfmt => self.fields(&mut Logfmt(line)),
            LogFormat::Common | LogFormat::Combined => {
                // Writing to a Vec cannot fail.
                let _infallible = clf::write(self, format == LogFormat::Combined, line);
            }
        }
    }

    fn fields(&self, out: &mut impl Fields) {
        out.begin(&text::millis(self.time));
        out.bare_text(key!("client"), self.client.map(Address::of).as_ref().map(Address::as_bytes));
        out.text(key!("method"), present(self.method));
        out.text(key!("host"), present(self.host));
        out.text(key!("path"), present(self.path));
        out.text(key!("protocol"), present(self.protocol));
        out.number(key!("status"), u64::from(self.status));
        out.bare_text(key!("grpc_status"), self.grpc_status.map(str::as_bytes));
        out.number(key!("bytes"), self.bytes);
        out.seconds(key!("duration"), Some(self.duration));
        out.seconds(key!("upstream_time"), self.upstream_time);
        out.text(key!("route"), self.route);
        out.text(key!("pool"), self.pool);
        out.text(key!("backend"), self.backend);
        out.bare_text(key!("cache"), Some(self.cache.as_str().as_bytes()));
        out.number(key!("attempts"), u64::from(self.attempts));
        out.bare_text(key!("hedge"), self.hedge.map(str::as_bytes));
        out.bare_text(key!("priority"), self.priority.map(str::as_bytes));
        out.seconds(key!("queue_time"), self.queue_time);
        out.bare_text(key!("shed"), self.shed.map(str::as_bytes));
        out.bare_text(key!("stale"), self.stale.map(str::as_bytes));
        out.bare_text(key!("coding"), self.coding.map(str::as_bytes));
        out.bare_text(key!("reason"), Some(self.reason.as_str().as_bytes()));
        out.text(key!("request_id"), present(self.request_id));
        out.bare_text(key!("trace_id"), self.trace.map(|trace| trace.to_string()).as_deref().map(str::as_bytes));
        out.number(key!("generation"), self.generation);
        out.end();
    }
}

/// The time, cut to the years 1970 to 9999 that dates in HTTP can be of.
pub(super) fn instant(time: SystemTime) -> SystemTime {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    time.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST)
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A key as each form has it, with what goes before and after it: there are two dozen of them in a line.
#[derive(Clone, Copy)]
struct Key {
    json_null: &'static str,
    json_text: &'static str,
    json: &'static str,
    logfmt_absent: &'static str,
    logfmt: &'static str,
}

/// A form of line.
trait Fields {
    /// Begins with the time.
    fn begin(&mut self, time: &[u8]);
    /// A text of ours, without any character to escape.
    fn bare_text(&mut self, key: Key, text: Option<&[u8]>);
    fn text(&mut self, key: Key, text: Option<&str>);
    fn number(&mut self, key: Key, number: u64);
    fn seconds(&mut self, key: Key, duration: Option<Duration>);
    fn end(&mut self);
}

struct Json<'a>(&'a mut Vec<u8>);

impl Json<'_> {
    fn add(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
}

impl Fields for Json<'_> {
    fn begin(&mut self, time: &[u8]) {
        self.add("{\"time\":\"");
        self.0.extend_from_slice(time);
        self.0.push(b'"');
    }

    fn bare_text(&mut self, key: Key, text: Option<&[u8]>) {
        let Some(text) = text else { return self.add(key.json_null) };
        self.add(key.json_text);
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    fn text(&mut self, key: Key, text: Option<&str>) {
        let Some(text) = text else { return self.add(key.json_null) };
        self.add(key.json_text);
        escape(text, self.0);
        self.0.push(b'"');
    }

    fn number(&mut self, key: Key, number: u64) {
        self.add(key.json);
        write_number(number, self.0);
    }

    fn seconds(&mut self, key: Key, duration: Option<Duration>) {
        let Some(duration) = duration else { return self.add(key.json_null) };
        self.add(key.json);
        write_seconds(duration, self.0);
    }

    fn end(&mut self) {
        self.add("}\n");
    }
}

struct Logfmt<'a>(&'a mut Vec<u8>);

impl Logfmt<'_> {
    fn add(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
}

impl Fields for Logfmt<'_> {
    fn begin(&mut self, time: &[u8]) {
        self.add("time=");
        self.0.extend_from_slice(time);
    }

    fn bare_text(&mut self, key: Key, text: Option<&[u8]>) {
        let Some(text) = text else { return self.add(key.logfmt_absent) };
        self.add(key.logfmt);
        self.0.extend_from_slice(text);
    }

    fn text(&mut self, key: Key, text: Option<&str>) {
        let Some(text) = text else { return self.add(key.logfmt_absent) };
        self.add(key.logfmt);
        // A dash stands for an absent value, so a dash that was sent is quoted.
        if text != "-" && !text.chars().any(|c| matches!(c, ' ' | '=' | '"' | '\\') || must_be_escaped(c)) {
            return self.add(text);
        }
        self.0.push(b'"');
        escape(text, self.0);
        self.0.push(b'"');
    }

    fn number(&mut self, key: Key, number: u64) {
        self.add(key.logfmt);
        write_number(number, self.0);
    }

    fn seconds(&mut self, key: Key, duration: Option<Duration>) {
        let Some(duration) = duration else { return self.add(key.logfmt_absent) };
        self.add(key.logfmt);
        write_seconds(duration, self.0);
    }

    fn end(&mut self) {
        self.0.push(b'\n');
    }
}

/// Seconds with six decimals, rounded down: never an exponent, the same width for most.
fn write_seconds(duration: Duration, line: &mut Vec<u8>) {
    write_number(duration.as_secs(), line);
    let mut micros = duration.subsec_micros();
    let mut digits = *b".000000";
    for digit in digits.iter_mut().skip(1).rev() {
        *digit += (micros % 10) as u8;
        micros /= 10;
    }
    line.extend_from_slice(&digits);
}

fn write_number(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn must_be_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Writes `text` as what stands between the quotes of a JSON string (RFC 8259 §7).
fn escape(text: &str, line: &mut Vec<u8>) {
    // All of it, without a way out half-way, so that it is done in wide registers.
    let has_odd = text.bytes().fold(false, |odd, b| odd | !(b' '..=b'~').contains(&b) | (b == b'"') | (b == b'\\'));
    if !has_odd {
        return line.extend_from_slice(text.as_bytes());
    }
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| matches!(c, '"' | '\\') || must_be_escaped(*c)) {
        line.extend_from_slice(&rest.as_bytes()[..at]);
        match c {
            '"' | '\\' => line.extend_from_slice(&[b'\\', c as u8]),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            _ => {
                // Writing to a Vec cannot fail.
                let _infallible = write!(line, "\\u{:04x}", u32::from(c));
            }
        }
        rest = &rest[at + c.len_utf8()..];
    }
    line.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// A request answered from memory.
    pub(in crate::telemetry) const SAMPLE: Record<'static> = Record {
        time: SystemTime::UNIX_EPOCH,
        client: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        method: "GET",
        host: "shop.example",
        path: "/a?b=c",
        protocol: "HTTP/1.1",
        status: 200,
        grpc_status: None,
        bytes: 1024,
        duration: Duration::from_nanos(12_345_678),
        upstream_time: None,
        route: Some("static"),
        pool: None,
        backend: None,
        cache: CacheResult::Hit,
        attempts: 0,
        hedge: None,
        priority: Some("default"),
        queue_time: None,
        shed: None,
        stale: None,
        coding: None,
        reason: Termination::Done,
        request_id: "4f",
        trace: None,
        generation: 3,
        agent: Agent { referer: b"", user_agent: b"" },
    };

    fn line(record: &Record<'_>, format: LogFormat) -> String {
        let mut line = Vec::new();
        record.write(format, &mut line);
        String::from_utf8(line).unwrap()
    }

    /// Splits a logfmt line into keys and values; a quoted value is a JSON string.
    fn logfmt(line: &str) -> Vec<(String, Option<String>)> {
        let mut pairs = Vec::new();
        let mut rest = line.strip_suffix('\n').unwrap();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=').unwrap();
            let mut quoted = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = if after.starts_with('"') {
                let value = quoted.next().unwrap().unwrap();
                rest = &after[quoted.byte_offset()..];
                Some(value)
            } else {
                let (value, _) = after.split_once(' ').unwrap_or((after, ""));
                rest = &after[value.len()..];
                (value != "-").then(|| value.to_owned())
            };
            rest = rest.strip_prefix(' ').unwrap_or(rest);
            pairs.push((key.to_owned(), value));
        }
        pairs
    }

    #[test]
    fn a_json_line_reads_as_documented() {
        assert_eq!(
            line(&SAMPLE, LogFormat::Json),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","client":"127.0.0.1","method":"GET","host":"shop.example","#,
                r#""path":"/a?b=c","protocol":"HTTP/1.1","status":200,"grpc_status":null,"bytes":1024,"duration":0.012345,"#,
                r#""upstream_time":null,"route":"static","pool":null,"backend":null,"cache":"hit","attempts":0,"#,
                r#""hedge":null,"priority":"default","queue_time":null,"shed":null,"stale":null,"coding":null,"reason":"done","#,
                r#""request_id":"4f","trace_id":null,"generation":3}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_logfmt_line_reads_as_documented() {
        assert_eq!(
            line(&SAMPLE, LogFormat::Logfmt),
            concat!(
                "time=1970-01-01T00:00:00.000Z client=127.0.0.1 method=GET host=shop.example ",
                r#"path="/a?b=c" protocol=HTTP/1.1 status=200 grpc_status=- bytes=1024 duration=0.012345 "#,
                "upstream_time=- route=static pool=- backend=- cache=hit attempts=0 hedge=- priority=default queue_time=- shed=- stale=- coding=- reason=done ",
                "request_id=4f trace_id=- generation=3\n"
            )
        );
    }

    #[test]
    fn the_keys_are_those_listed_in_both_forms() {
        let json = line(&SAMPLE, LogFormat::Json);
        let places: Vec<_> = KEYS.iter().map(|key| json.find(&format!("\"{key}\":")).unwrap()).collect();
        assert!(places.is_sorted());
        let object: serde_json::Map<String, Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(object.len(), KEYS.len());
        let pairs = logfmt(&line(&SAMPLE, LogFormat::Logfmt));
        assert_eq!(pairs.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), KEYS);
    }

    #[test]
    fn the_document_lists_the_keys_in_their_order() {
        let document = include_str!("../../docs/access-log.md");
        let (_, table) = document.split_once("| key |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let listed: Vec<_> = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(listed, KEYS);
        for form in ["\n{\"time\":", "\ntime="] {
            let (_, example) = document.split_once(form).unwrap();
            let example = example.lines().next().unwrap();
            assert!(KEYS[1..].iter().all(|key| example.contains(key)), "{example}");
        }
    }

    #[test]
    fn a_trace_is_its_digits() {
        let record = Record { trace: Some(TraceId::of(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)), ..SAMPLE };
        let written = line(&record, LogFormat::Json);
        assert!(written.contains(r#","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#), "{written}");
        assert!(line(&record, LogFormat::Logfmt).contains(" trace_id=4bf92f3577b34da6a3ce929d0e0e4736 "));
    }

    #[test]
    fn a_dash_that_was_sent_is_not_an_absent_value() {
        let record = Record { path: "-", host: "", ..SAMPLE };
        let written = line(&record, LogFormat::Logfmt);
        assert!(written.contains(r#" host=- path="-" "#), "{written}");
    }

    #[test]
    fn a_clock_before_1970_or_after_9999_does_not_panic() {
        let early = Record { time: SystemTime::UNIX_EPOCH - Duration::from_secs(1), ..SAMPLE };
        assert!(line(&early, LogFormat::Json).contains("1970-01-01T00:00:00.000Z"));
        let late = Record { time: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40), ..SAMPLE };
        assert!(line(&late, LogFormat::Json).contains("9999-12-31T23:59:59.000Z"));
    }

    #[test]
    fn a_line_feed_in_a_path_cannot_forge_a_line() {
        for breaker in
            ["\n", "\r\n", "\u{b}", "\u{c}", "\u{1c}", "\u{85}", "\u{2028}", "\u{2029}", "\u{1b}[2J", "\u{7f}"]
        {
            let path = format!("/a{breaker}{{\"status\":200}}");
            for format in [LogFormat::Json, LogFormat::Logfmt] {
                let written = line(&Record { path: &path, ..SAMPLE }, format);
                let body = written.strip_suffix('\n').unwrap();
                assert!(!body.chars().any(must_be_escaped), "{body:?}");
            }
        }
    }

    #[test]
    fn failures_and_slow_requests_are_kept() {
        const SLOW: Duration = Duration::from_secs(1);
        assert!(!SAMPLE.must_be_kept(SLOW));
        assert!(!Record { status: 404, ..SAMPLE }.must_be_kept(SLOW));
        assert!(Record { status: 502, ..SAMPLE }.must_be_kept(SLOW));
        assert!(Record { reason: Termination::ClientClosed, ..SAMPLE }.must_be_kept(SLOW));
        assert!(!Record { status: 429, reason: Termination::RateLimited, ..SAMPLE }.must_be_kept(SLOW));
        assert!(Record { duration: SLOW, ..SAMPLE }.must_be_kept(SLOW));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was_sent(host in "\\PC*", path in any::<String>(), id in any::<String>()) {
            let record = Record { host: &host, path: &path, request_id: &id, ..SAMPLE };
            let json = line(&record, LogFormat::Json);
            let object: Value = serde_json::from_str(&json).unwrap();
            let pairs = logfmt(&line(&record, LogFormat::Logfmt));
            for (key, sent) in [("host", &host), ("path", &path), ("request_id", &id)] {
                let sent = present(sent);
                prop_assert_eq!(object[key].as_str(), sent);
                prop_assert_eq!(pairs.iter().find(|(k, _)| k == key).unwrap().1.as_deref(), sent);
            }
        }
    }
}
