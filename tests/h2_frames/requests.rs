//! §8.1, §8.3 to §8.5: requests, whole and malformed.

use super::ask::{AUTHORITY, Ask};
use super::block::{field, fields};
use super::case::{Case, Wanted, case};
use super::code::PROTOCOL_ERROR;
use super::frame::{END_HEADERS, END_STREAM, NONE, data, headers};

const FRAGMENT: &str = "A fragment in `:path` is dropped.";
const IN_TRAILERS: &str = "Pseudo-fields in trailers are dropped.";

pub fn cases(ask: Ask) -> Vec<Case> {
    [exchanges(ask), lengths(ask), pseudo(ask), targets(ask), tunnels(ask)].into_iter().flatten().collect()
}

fn exchanges(ask: Ask) -> Vec<Case> {
    let get = Ask { method: "GET", ..ask };
    let trailers = |flags: u8, list: &[(&str, &str)]| headers(1, END_HEADERS | flags, fields(list));
    let posted = |trailers: Vec<u8>| [ask.open(1), data(1, NONE, b"body"), trailers].concat();
    vec![
        case("8.1", "GET").sends(get.whole(1)).answered(1),
        case("8.1", "HEAD is answered without a body").sends(ask.head(1)).hears(Wanted::Body(1, Vec::new())),
        case("8.1", "POST").sends(ask.post().whole(1)).answered(1),
        case("8.1", "requests in any order of their bodies")
            .sends(ask.open(1))
            .sends(ask.whole(3))
            .answered(3)
            .sends(data(1, END_STREAM, b"body"))
            .answered(1),
        case("8.1", "trailers").sends(posted(trailers(END_STREAM, &[("x-test", "ok")]))).answered(1),
        case("8.1", "trailers without a body")
            .sends(ask.open(1))
            .sends(trailers(END_STREAM, &[("x-test", "ok")]))
            .answered(1),
        case("8.1", "no field in trailers").sends(posted(trailers(END_STREAM, &[]))).answered(1),
        case("8.1", "trailers that are not the end").sends(posted(trailers(NONE, &[("x-test", "ok")]))).malformed(1),
        case("8.1", "a second head that is not the end").sends(ask.open(1)).sends(ask.open(1)).malformed(1),
        case("8.1", "a name in capitals in trailers")
            .sends(posted(trailers(END_STREAM, &[("X-Test", "ok")])))
            .malformed(1),
        case("8.1", "GET with a body")
            .sends(headers(1, END_HEADERS, get.block(&[])))
            .sends(data(1, END_STREAM, b"body"))
            .answered(1),
        case("8.1", "a body after a refusal is passed over")
            .sends(headers(1, END_HEADERS, ask.altered(":method", Some("TRACE"))))
            .hears(Wanted::Answer(1, 405))
            .sends(data(1, END_STREAM, b"body")),
    ]
}

fn lengths(ask: Ask) -> Vec<Case> {
    let post = |lengths: &[&str]| {
        let lengths: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        headers(1, END_HEADERS, ask.post().block(&lengths))
    };
    let (whole, half) = (data(1, END_STREAM, b"body"), data(1, NONE, b"bo"));
    let bad = |what, lengths: &[&str]| case("8.1.1", what).sends(post(lengths)).sends(&whole).malformed(1);
    vec![
        case("8.1.1", "a length that holds").sends(post(&["4"])).sends(&whole).answered(1),
        case("8.1.1", "one that holds for several DATA").sends(post(&["6"])).sends(&half).sends(&whole).answered(1),
        bad("more than was said", &["1"]),
        bad("less than was said", &["5"]),
        bad("something where nothing was said", &["0"]),
        case("8.1.1", "more than was said, in several DATA")
            .sends(post(&["5"]))
            .sends(&half)
            .sends(&whole)
            .malformed(1),
        case("8.1.1", "less than was said, in several DATA")
            .sends(post(&["7"]))
            .sends(&half)
            .sends(&whole)
            .malformed(1),
        case("8.1.1", "less than was said, then trailers")
            .sends(post(&["5"]))
            .sends(data(1, NONE, b"body"))
            .sends(headers(1, END_HEADERS | END_STREAM, fields(&[("x-test", "ok")])))
            .malformed(1),
        case("8.1.1", "nothing where something was said")
            .sends(headers(1, END_HEADERS | END_STREAM, ask.block(&[("content-length", "4")])))
            .malformed(1),
        case("8.1.1", "nothing where nothing was said")
            .sends(headers(1, END_HEADERS | END_STREAM, ask.block(&[("content-length", "0")])))
            .answered(1),
        bad("two lengths", &["4", "5"]),
        bad("a list of two", &["4, 5"]),
        bad("no number", &["four"]),
        bad("a sign", &["+4"]),
        bad("a negative one", &["-4"]),
        bad("an empty one", &[""]),
        bad("one beyond 64 bits", &["18446744073709551620"]),
    ]
}

fn pseudo(ask: Ask) -> Vec<Case> {
    let whole = ask.block(&[]);
    let of = |section, what, block: Vec<u8>| case(section, what).sends(ask.of(1, &block)).malformed(1);
    let also = |name: &str, value: &str| [&whole[..], &field(name, value)].concat();
    let trailer = |what, end: u8, name: &str| {
        case("8.3", what).sends(ask.open(1)).sends(data(1, NONE, b"body")).sends(headers(
            1,
            END_HEADERS | end,
            field(name, "200"),
        ))
    };
    vec![
        of("8.3", "one that is unknown", [field(":test", "ok"), whole.clone()].concat()),
        of("8.3", "one of answers", [field(":status", "200"), whole.clone()].concat()),
        of("8.3", "one after a field", [&field("x-test", "ok")[..], &whole].concat()),
        of(
            "8.3",
            "one of them after a field",
            [ask.altered(":path", None), field("x-test", "ok"), field(":path", ask.path)].concat(),
        ),
        trailer("one in trailers that are not the end", NONE, ":method").malformed(1),
        trailer("one in trailers", END_STREAM, ":method").answered(1).deviates(IN_TRAILERS),
        trailer("one of answers in trailers", END_STREAM, ":status").answered(1).deviates(IN_TRAILERS),
        of("8.3.1", "no method", ask.altered(":method", None)),
        of("8.3.1", "no scheme", ask.altered(":scheme", None)),
        of("8.3.1", "no path", ask.altered(":path", None)),
        of("8.3.1", "two methods", also(":method", ask.method)),
        of("8.3.1", "two schemes", also(":scheme", ask.scheme)),
        of("8.3.1", "two paths", also(":path", ask.path)),
        of("8.3.1", "two authorities", also(":authority", AUTHORITY)),
        of("8.3.1", "an empty path", ask.altered(":path", Some(""))),
        of("8.3.1", "an empty method", ask.altered(":method", Some(""))),
        of("8.3.1", "a method that is no token", ask.altered(":method", Some("G T"))),
        case("8.3.1", "an empty scheme").sends(ask.of(1, &ask.altered(":scheme", Some("")))).refuses(1),
        of("8.3.1", "a scheme that is none", ask.altered(":scheme", Some("ht tp"))),
    ]
}

fn targets(ask: Ask) -> Vec<Case> {
    let path = |what, path: &str| case("8.3.1", what).sends(ask.of(1, &ask.altered(":path", Some(path))));
    let authority = |what, value: Option<&str>| case("8.3.1", what).sends(ask.of(1, &ask.altered(":authority", value)));
    let hosts = |what, value: Option<&str>, hosts: &[(&str, &str)]| {
        case("8.3.1", what).sends(ask.of(1, &[ask.altered(":authority", value), fields(hosts)].concat()))
    };
    vec![
        path("a path without a slash", "hit").refuses(1),
        path("a path with a space", "/a b").refuses(1),
        path("a path with a line's end", "/a\r\nx-smuggled: 1").refuses(1),
        path("a path with NUL", "/a\0b").refuses(1),
        path("a path that is a whole URI", "http://other.example/").refuses(1),
        path("a path with a fragment", &format!("{}#a", ask.path)).answered(1).deviates(FRAGMENT),
        path("an asterisk with another method than OPTIONS", "*").refuses(1),
        authority("an authority with a user", Some("user@shop.example")).refuses(1),
        authority("an authority with a path", Some("shop.example/a")).refuses(1),
        authority("an authority with a space", Some("shop example")).refuses(1),
        authority("an authority with two ports", Some("shop.example:80:80")).refuses(1),
        authority("no authority and no Host", None).refuses(1),
        authority("an empty authority", Some("")).refuses(1),
        hosts("Host alone", None, &[("host", AUTHORITY)]).answered(1),
        hosts("Host that is the authority", Some(AUTHORITY), &[("host", AUTHORITY)]).answered(1),
        hosts("Host that is another", Some(AUTHORITY), &[("host", "other.example")]).refuses(1),
        hosts("two Hosts", None, &[("host", AUTHORITY), ("host", "other.example")]).refuses(1),
    ]
}

fn tunnels(ask: Ask) -> Vec<Case> {
    let connect = |more: &[(&str, &str)]| {
        let block = fields(&[&[(":method", "CONNECT"), (":authority", "shop.example:443")], more].concat());
        headers(1, END_HEADERS, block)
    };
    vec![
        case("8.5", "CONNECT is refused").sends(connect(&[])).hears(Wanted::Answer(1, 405)),
        case("8.5", "CONNECT without an authority")
            .sends(headers(1, END_HEADERS, field(":method", "CONNECT")))
            .refuses(1),
        case("8.5", "CONNECT with a scheme and a path")
            .sends(connect(&[(":scheme", ask.scheme), (":path", "/")]))
            .refuses(1),
        case("8.5", "a protocol (RFC 8441) that was not offered")
            .sends(connect(&[(":protocol", "websocket"), (":scheme", ask.scheme), (":path", "/")]))
            .fails_or_resets(1, &[PROTOCOL_ERROR]),
        case("8.5", "a protocol with another method")
            .sends(ask.of(1, &[field(":protocol", "websocket"), ask.block(&[])].concat()))
            .fails_or_resets(1, &[PROTOCOL_ERROR]),
    ]
}
