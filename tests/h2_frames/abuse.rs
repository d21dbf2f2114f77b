//! §10.5: what costs the edge more than the client.

use super::ask::Ask;
use super::block::{Kept, field, indexed, literal, plain};
use super::case::{Case, Wanted, case};
use super::code::{CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM};
use super::frame::{
    END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, NONE, PADDED, UNKNOWN, continuation, data, frame, headers, padded,
    ping, priority, rst_stream, settings, window_update,
};

/// More of anything than a client has a reason to send at once.
const MANY: u32 = 5000;

pub fn cases(ask: Ask) -> Vec<Case> {
    [resets(ask), blocks(ask), floods(ask)].into_iter().flatten().collect()
}

/// `MANY` times these bytes, each for a stream of its own.
fn each(bytes: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..MANY).flat_map(|n| bytes(2 * n + 1)).collect()
}

fn resets(ask: Ask) -> Vec<Case> {
    let opened = |more: fn(u32) -> Vec<u8>| each(|stream| [ask.open(stream), more(stream)].concat());
    vec![
        case("10.5", "rapid resets (CVE-2023-44487)")
            .sends(opened(|stream| rst_stream(stream, CANCEL)))
            .fails(&[ENHANCE_YOUR_CALM]),
        case("10.5", "rapid resets of whole requests")
            .sends(each(|stream| [ask.whole(stream), rst_stream(stream, CANCEL)].concat()))
            .fails(&[ENHANCE_YOUR_CALM]),
        case("10.5", "resets that the edge is made to send (CVE-2025-8671), by windows")
            .sends(opened(|stream| window_update(stream, 0)))
            .closes(),
        case("10.5", "the same by priorities")
            .sends(opened(|stream| priority(stream, stream, 16)))
            .fails(&[ENHANCE_YOUR_CALM]),
        case("10.5", "the same by DATA after the end")
            .sends(each(|stream| [ask.post().whole(stream), data(stream, END_STREAM, b"x")].concat()))
            .closes(),
        case("10.5", "malformed requests")
            .sends(each(|stream| headers(stream, END_HEADERS | END_STREAM, ask.altered(":path", None))))
            .fails(&[ENHANCE_YOUR_CALM]),
        case("10.5", "more requests at a time than are allowed")
            .sends(each(|stream| ask.open(stream)))
            .fails(&[ENHANCE_YOUR_CALM]),
    ]
}

fn blocks(ask: Ask) -> Vec<Case> {
    let block = ask.block(&[]);
    let large = field("x-large", "x".repeat(4000));
    let pieces = |count: usize| (0..count).flat_map(|_| continuation(1, NONE, large.repeat(4))).collect::<Vec<_>>();
    // An entry of nearly the whole table, named over and over at a byte each.
    let bomb = |count: usize| {
        let entry = literal(Kept::Indexed, &plain("x-bomb"), &plain("x".repeat(4000)));
        [&block[..], &entry, &indexed(62).repeat(count)].concat()
    };
    vec![
        case("10.5", "a flood of CONTINUATION (CVE-2024-27316)")
            .sends(headers(1, END_STREAM, &block))
            .sends(continuation(1, NONE, field("x", "y")).repeat(MANY as usize))
            .fails(&[ENHANCE_YOUR_CALM]),
        case("10.5", "a flood of empty CONTINUATION")
            .sends(headers(1, END_STREAM, &block))
            .sends(continuation(1, NONE, b"").repeat(MANY as usize))
            .fails(&[ENHANCE_YOUR_CALM]),
        case("10.5.1", "a head above the limit is answered 431")
            .sends(headers(1, ask.end(), &block))
            .sends(pieces(4))
            .sends(continuation(1, NONE, large.repeat(3)))
            .sends(continuation(1, END_HEADERS, b""))
            .sends(ask.rest(1))
            .hears(Wanted::Answer(1, 431)),
        case("10.5.1", "a head far above the limit")
            .sends(headers(1, ask.end(), &block))
            .sends(pieces(40))
            .fails(&[ENHANCE_YOUR_CALM, COMPRESSION_ERROR]),
        case("10.5.1", "a table's entry named a hundred times").sends(ask.of(1, &bomb(100))).limits(1),
        case("10.5.1", "a table's entry named ten thousand times (a HPACK bomb)")
            .sends(ask.of(1, &bomb(10_000)))
            .limits(1),
        case("10.5.1", "many fields")
            .sends(ask.of(1, &[&block[..], &field("a", "").repeat(1000)].concat()))
            .hears(Wanted::Answer(1, 431)),
    ]
}

fn floods(ask: Ask) -> Vec<Case> {
    let flood = |what, bytes: Vec<u8>| case("10.5", what).sends(bytes.repeat(MANY as usize)).withstands();
    let poured =
        |what, bytes: Vec<u8>| case("10.5", what).sends(ask.open(1)).sends(bytes.repeat(MANY as usize)).withstands();
    vec![
        flood("a flood of SETTINGS", settings(&[(HEADER_TABLE_SIZE, 0)])),
        flood("a flood of empty SETTINGS", settings(&[])),
        flood("a flood of PING", ping(b"flooded!")),
        flood("a flood of PRIORITY", priority(9, 0, 16)),
        flood("a flood of unknown frames", frame(UNKNOWN, NONE, 0, b"")),
        flood("a flood of WINDOW_UPDATE", window_update(0, 1)),
        poured("a flood of WINDOW_UPDATE on a stream", window_update(1, 1)),
        poured("a flood of empty DATA", data(1, NONE, b"")),
        poured("a flood of DATA that is all padding", data(1, PADDED, padded(9, b"", 9))),
        poured("a flood of DATA of one byte", data(1, NONE, b"x")),
        poured("a flood of RST_STREAM", rst_stream(1, CANCEL)),
    ]
}
