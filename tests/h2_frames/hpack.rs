//! RFC 7541: field blocks. What is wrong with one ends the connection (RFC 9113 §4.3).

use super::ask::{AUTHORITY, Ask};
use super::block::{Kept, coded, field, indexed, integer, literal, named, plain, table_size};
use super::case::{Case, Wanted, case};
use super::code::COMPRESSION_ERROR;
use super::frame::{HEADER_TABLE_SIZE, settings};

/// Strings of RFC 7541 Appendix C.4 in Huffman code: `no-cache`, `custom-key`, `custom-value`.
const NO_CACHE: &[u8] = &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
const CUSTOM_KEY: &[u8] = &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f];
const CUSTOM_VALUE: &[u8] = &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf];

/// Entries of the static table (RFC 7541 Appendix A).
const PATH: usize = 4;
const PRAGMA: usize = 51;
const USER_AGENT: usize = 58;
/// The newest entry of the dynamic table (§2.3.3).
const NEWEST: usize = 62;

/// Bytes of the dynamic table unless something is said of it (RFC 9113 §6.5.2).
const TABLE: usize = 4096;

pub fn cases(ask: Ask) -> Vec<Case> {
    [represented(ask), tables(ask), wrong(ask)].into_iter().flatten().collect()
}

fn represented(ask: Ask) -> Vec<Case> {
    let with = |section, what, more: Vec<u8>| {
        case(section, what).sends(ask.of(1, &[ask.block(&[]), more].concat())).answered(1)
    };
    let method = if ask.method == "POST" { 3 } else { 2 };
    let scheme = if ask.scheme == "https" { 7 } else { 6 };
    let tabled = [
        indexed(method),
        indexed(scheme),
        named(Kept::Indexed, 1, &plain(AUTHORITY)),
        named(Kept::Indexed, PATH, &plain(ask.path)),
    ];
    let mut rows = vec![
        case("HPACK 6.1", "fields of the static table").sends(ask.of(1, &tabled.concat())).answered(1),
        case("HPACK 6.1", "fields of the dynamic table")
            .sends(ask.of(1, &tabled.concat()))
            .answered(1)
            .sends(ask.of(3, &[indexed(method), indexed(scheme), indexed(NEWEST), indexed(NEWEST + 1)].concat()))
            .answered(3),
    ];
    for (section, kept, names) in [
        (
            "HPACK 6.2.1",
            Kept::Indexed,
            ["indexed", "indexed, coded", "indexed, of a new name", "indexed, of a new name, coded"],
        ),
        (
            "HPACK 6.2.2",
            Kept::Unindexed,
            ["not indexed", "not indexed, coded", "not indexed, of a new name", "not indexed, of a new name, coded"],
        ),
        (
            "HPACK 6.2.3",
            Kept::NeverIndexed,
            [
                "never indexed",
                "never indexed, coded",
                "never indexed, of a new name",
                "never indexed, of a new name, coded",
            ],
        ),
    ] {
        rows.push(with(section, names[0], named(kept, USER_AGENT, &plain("me"))));
        rows.push(with(section, names[1], named(kept, USER_AGENT, &coded(NO_CACHE))));
        rows.push(with(section, names[2], literal(kept, &plain("x-test"), &plain("ok"))));
        rows.push(with(section, names[3], literal(kept, &coded(CUSTOM_KEY), &coded(CUSTOM_VALUE))));
    }
    // Answered with what the backend heard.
    let echo = Ask { method: "GET", path: "/custom", ..ask };
    let coded = literal(Kept::Unindexed, &coded(CUSTOM_KEY), &coded(CUSTOM_VALUE));
    rows.push(
        case("HPACK 5.2", "a coded string means what it means")
            .sends(echo.of(1, &[echo.block(&[]), coded].concat()))
            .hears(Wanted::Body(1, b"[custom-value]".to_vec())),
    );
    rows
}

fn tables(ask: Ask) -> Vec<Case> {
    let after = |sizes: &[usize]| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| table_size(*size)).collect();
        ask.of(1, &[sizes, ask.block(&[])].concat())
    };
    let kept = |name: &str, length: usize| literal(Kept::Indexed, &plain(name), &plain("x".repeat(length)));
    let echo = Ask { method: "GET", path: "/custom", ..ask };
    vec![
        case("HPACK 4.2", "a smaller table").sends(after(&[100])).answered(1),
        case("HPACK 4.2", "no table, then one again").sends(after(&[0, TABLE])).answered(1),
        case("HPACK 4.2", "a new size at the end of a block")
            .sends(ask.of(1, &[ask.block(&[]), table_size(100)].concat()))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 4.2", "a new size between fields")
            .sends(ask.of(1, &[field(":method", ask.method), table_size(100), ask.altered(":method", None)].concat()))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 6.3", "a size above the edge's")
            .sends(after(&[TABLE + 1]))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 6.3", "a size far above it")
            .sends(after(&[1 << 30]))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 6.3", "a client's own limit is not the edge's")
            .sends(settings(&[(HEADER_TABLE_SIZE, 0)]))
            .sends(after(&[TABLE]))
            .answered(1),
        case("HPACK 4.3", "a smaller table loses its entries")
            .sends(ask.of(1, &[ask.block(&[]), kept("x-kept", 10)].concat()))
            .answered(1)
            .sends(ask.of(3, &[table_size(0), ask.block(&[]), indexed(NEWEST)].concat()))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 4.4", "an entry too large for the table empties it")
            .sends(ask.of(1, &[ask.block(&[]), kept("x-kept", 10)].concat()))
            .answered(1)
            .sends(ask.of(3, &[ask.block(&[]), kept("x-large", TABLE)].concat()))
            .answered(3)
            .sends(ask.of(5, &[ask.block(&[]), indexed(NEWEST)].concat()))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 4.4", "older entries go first")
            .sends(ask.of(1, &[ask.block(&[]), kept("x-first", 3000)].concat()))
            .answered(1)
            .sends(ask.of(3, &[ask.block(&[]), kept("x-second", 3000)].concat()))
            .answered(3)
            .sends(ask.of(5, &[ask.block(&[]), indexed(NEWEST + 1)].concat()))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("HPACK 2.2", "the table is one of the connection, also through a malformed request")
            .sends(ask.of(
                1,
                &[ask.altered(":path", None), literal(Kept::Indexed, &plain("custom-key"), &plain("kept"))].concat(),
            ))
            .sends(echo.of(3, &[echo.block(&[]), indexed(NEWEST)].concat()))
            .hears(Wanted::Body(3, b"[kept]".to_vec())),
    ]
}

fn wrong(ask: Ask) -> Vec<Case> {
    let bad = |section, what, more: Vec<u8>| {
        case(section, what)
            .sends(ask.of(1, &[ask.block(&[]), more].concat()))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms()
    };
    // `o` has five bits, so that three are left of the byte.
    let value = |code: &[u8]| literal(Kept::Unindexed, &plain("x-test"), &coded(code));
    vec![
        bad("HPACK 2.3.3", "an index of no entry", indexed(NEWEST + 8)),
        bad("HPACK 2.3.3", "a name of no entry", named(Kept::Indexed, NEWEST + 8, &plain("x"))),
        bad("HPACK 2.3.3", "a name of no entry, not indexed", named(Kept::Unindexed, NEWEST + 8, &plain("x"))),
        bad("HPACK 6.1", "the index 0", indexed(0)),
        bad("HPACK 5.1", "an integer beyond all limits", [&integer(0x80, 7, 127)[..1], &[0xff; 12]].concat()),
        bad("HPACK 5.1", "an integer that does not end", vec![0xff, 0x80]),
        bad("HPACK 5.1", "an integer of many zeros", [&[0xff][..], &[0x80; 16], &[0x00]].concat()),
        bad("HPACK 5.2", "a string longer than the block", [&[0x00, 0x06][..], b"x-test", &[0x7e], b"short"].concat()),
        bad("HPACK 5.2", "a string longer than memory", [&[0x00][..], &integer(0, 7, 1 << 40), b"short"].concat()),
        bad("HPACK 5.2", "padding of more than seven bits", value(&[NO_CACHE, &[0xff]].concat())),
        bad("HPACK 5.2", "padding of zeros", value(&[0x38])),
        bad("HPACK 5.2", "the end of strings in a string", value(&[0xff, 0xff, 0xff, 0xfc])),
        bad("HPACK 5.2", "the end of strings before another character", value(&[0xff, 0xff, 0xff, 0xfc, 0x3f])),
        case("HPACK 6.2.1", "a name of the table that is malformed here")
            .sends(ask.of(1, &[ask.block(&[]), named(Kept::Unindexed, 8, &plain("200"))].concat()))
            .malformed(1),
        case("HPACK 5.2", "a coded value that HTTP/1.1 could not carry")
            .sends(ask.of(1, &[ask.block(&[]), named(Kept::Unindexed, PRAGMA, &plain("a\nb"))].concat()))
            .malformed(1),
    ]
}
