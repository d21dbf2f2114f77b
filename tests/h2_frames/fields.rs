//! §8.2: fields that may not be there.

use super::ask::{AUTHORITY, Ask};
use super::block::{field, fields};
use super::case::{Case, Wanted, case};
use super::frame::{END_HEADERS, END_STREAM, headers};

pub fn cases(ask: Ask) -> Vec<Case> {
    [names(ask), values(ask), connections(ask), crumbs(ask)].into_iter().flatten().collect()
}

fn names(ask: Ask) -> Vec<Case> {
    let bad = |what: &'static str, name: &'static [u8]| {
        case("8.2.1", what).sends(ask.of(1, &[ask.block(&[]), field(name, "x")].concat())).malformed(1)
    };
    vec![
        case("8.2", "a name in capitals").sends(ask.with(1, &[("X-TEST", "ok")])).malformed(1),
        case("8.2", "one capital at its end").sends(ask.with(1, &[("x-tesT", "ok")])).malformed(1),
        bad("a name with a space", b"x test"),
        bad("a name with a colon in it", b"x:test"),
        bad("a name with a line's end", b"x\r\ntest"),
        bad("a name with NUL", b"x\0test"),
        bad("a name with DEL", b"x\x7ftest"),
        bad("a name beyond ASCII", b"x\xc3\xa4"),
        bad("an empty name", b""),
        case("8.2.1", "every character that a name may have")
            .sends(ask.with(1, &[("x!#$%&'*+-.^_`|~019az", "ok")]))
            .answered(1),
    ]
}

fn values(ask: Ask) -> Vec<Case> {
    let with = |value: &'static [u8]| ask.of(1, &[ask.block(&[]), field("x-test", value)].concat());
    let bad = |what, value| case("8.2.1", what).sends(with(value)).malformed(1);
    let good = |what, value| case("8.2.1", what).sends(with(value)).answered(1);
    vec![
        bad("a value with NUL", b"a\0b"),
        bad("a value with LF", b"a\nb"),
        bad("a value with CR", b"a\rb"),
        bad("a value that would be another field", b"a\r\nx-smuggled: 1"),
        case("8.2.1", "a value that begins with a space").sends(with(b" a")).refuses(1),
        case("8.2.1", "a value that ends with a tab").sends(with(b"a\t")).refuses(1),
        good("an empty value", b""),
        good("a value with a tab and spaces within", b"a\t b"),
        good("a value beyond ASCII", b"gr\xfc\xdf"),
    ]
}

fn connections(ask: Ask) -> Vec<Case> {
    let bad = |name: &'static str, field: (&str, &str)| case("8.2.2", name).sends(ask.with(1, &[field])).malformed(1);
    vec![
        bad("Connection", ("connection", "keep-alive")),
        bad("Keep-Alive", ("keep-alive", "timeout=5")),
        bad("Proxy-Connection", ("proxy-connection", "keep-alive")),
        bad("Transfer-Encoding", ("transfer-encoding", "chunked")),
        bad("Upgrade", ("upgrade", "websocket")),
        bad("TE that is not `trailers`", ("te", "gzip")),
        bad("TE that is more than `trailers`", ("te", "trailers, deflate;q=0.5")),
        case("8.2.2", "TE: trailers").sends(ask.with(1, &[("te", "trailers")])).answered(1),
        case("8.2.2", "Connection in trailers")
            .sends(ask.open(1))
            .sends(headers(1, END_HEADERS | END_STREAM, fields(&[("connection", "close")])))
            .malformed(1),
    ]
}

fn crumbs(ask: Ask) -> Vec<Case> {
    // Answered with what the backend heard.
    let echo = Ask { method: "GET", path: "/cookie", ..ask };
    vec![
        case("8.2.3", "crumbs of Cookie are one field to a backend")
            .sends(echo.with(1, &[("cookie", "a=b"), ("x-test", AUTHORITY), ("cookie", "c=d"), ("cookie", "e=f")]))
            .hears(Wanted::Body(1, b"[a=b; c=d; e=f]".to_vec())),
    ]
}
