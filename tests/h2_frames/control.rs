//! §6.3 to §6.8, and §7: PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, and codes of errors.

use super::ask::Ask;
use super::case::{Case, Wanted, case};
use super::code::{CANCEL, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, NO_ERROR, PROTOCOL_ERROR, UNKNOWN};
use super::frame::{
    ACK, ENABLE_PUSH, FRAME_SIZE, GOAWAY, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, NONE, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, frame, goaway, ping, priority, rst_stream, settings,
};

pub fn cases(ask: Ask) -> Vec<Case> {
    [priorities(ask), resets(ask), agreed(ask), pushed(ask), pings(), farewells(ask)].into_iter().flatten().collect()
}

fn priorities(ask: Ask) -> Vec<Case> {
    let sent = |on: u32, weight: u16| priority(1, on, weight);
    vec![
        case("6.3", "the least weight").sends(sent(0, 1)).sends(ask.whole(1)).answered(1),
        case("6.3", "the greatest weight").sends(sent(0, 256)).sends(ask.whole(1)).answered(1),
        case("6.3", "a dependency")
            .sends(priority(3, 1, 16))
            .sends(ask.whole(1))
            .sends(ask.whole(3))
            .answered(1)
            .answered(3),
        case("6.3", "an exclusive one")
            .sends(priority(3, 1 << 31 | 1, 16))
            .sends(ask.whole(1))
            .sends(ask.whole(3))
            .answered(1)
            .answered(3),
        case("6.3", "of an idle stream, then a request on a lower one")
            .sends(priority(7, 0, 16))
            .sends(ask.whole(1))
            .answered(1),
        case("6.3", "of an idle stream of the server").sends(priority(2, 0, 16)).sends(ask.whole(1)).answered(1),
        case("6.3", "of the connection").sends(priority(0, 1, 16)).fails(&[PROTOCOL_ERROR]),
        case("6.3", "too short, of an open stream")
            .sends(ask.open(1))
            .sends(frame(PRIORITY, NONE, 1, b"for"))
            .fails_or_resets(1, &[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("6.3", "too long, of an open stream")
            .sends(ask.open(1))
            .sends(frame(PRIORITY, NONE, 1, b"sixsix"))
            .fails_or_resets(1, &[FRAME_SIZE_ERROR])
            .in_general_terms(),
    ]
}

fn resets(ask: Ask) -> Vec<Case> {
    vec![
        case("6.4", "of an open stream").sends(ask.open(1)).sends(rst_stream(1, CANCEL)),
        case("6.4", "of the connection").sends(rst_stream(0, CANCEL)).fails(&[PROTOCOL_ERROR]),
        case("6.4", "of an idle stream").sends(rst_stream(3, CANCEL)).fails(&[PROTOCOL_ERROR]),
        case("6.4", "too short")
            .sends(ask.open(1))
            .sends(frame(RST_STREAM, NONE, 1, b"abc"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("6.4", "too long")
            .sends(ask.open(1))
            .sends(frame(RST_STREAM, NONE, 1, b"abcde"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
    ]
}

fn agreed(ask: Ask) -> Vec<Case> {
    let set = |name: u16, value: u32| settings(&[(name, value)]);
    let agrees = |section, name, bytes: Vec<u8>| case(section, name).sends(bytes).hears(Wanted::Acknowledged(1));
    vec![
        agrees("6.5", "SETTINGS are acknowledged", set(MAX_CONCURRENT_STREAMS, 100)),
        agrees("6.5", "empty ones too", settings(&[])),
        case("6.5", "an ACK that says something")
            .sends(frame(SETTINGS, ACK, 0, [0; 6]))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("6.5", "of a stream").sends(frame(SETTINGS, NONE, 1, [0, 3, 0, 0, 0, 100])).fails(&[PROTOCOL_ERROR]),
        case("6.5", "an ACK of a stream").sends(frame(SETTINGS, ACK, 1, [])).fails(&[PROTOCOL_ERROR]),
        case("6.5", "half a setting")
            .sends(frame(SETTINGS, NONE, 0, [0, 3, 0]))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("6.5", "one and a half")
            .sends(frame(SETTINGS, NONE, 0, [0, 3, 0, 0, 0, 100, 0, 3, 0]))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        agrees("6.5.2", "no push", set(ENABLE_PUSH, 0)),
        case("6.5.2", "a push that is neither on nor off").sends(set(ENABLE_PUSH, 2)).fails(&[PROTOCOL_ERROR]),
        agrees("6.5.2", "the largest window", set(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)),
        case("6.5.2", "a window above it")
            .sends(set(INITIAL_WINDOW_SIZE, LARGEST_WINDOW + 1))
            .fails(&[FLOW_CONTROL_ERROR])
            .in_general_terms(),
        agrees("6.5.2", "the largest frames", set(MAX_FRAME_SIZE, (1 << 24) - 1)),
        case("6.5.2", "frames above them").sends(set(MAX_FRAME_SIZE, 1 << 24)).fails(&[PROTOCOL_ERROR]),
        case("6.5.2", "frames that are too small")
            .sends(set(MAX_FRAME_SIZE, FRAME_SIZE as u32 - 1))
            .fails(&[PROTOCOL_ERROR]),
        agrees("6.5.2", "the largest table", set(HEADER_TABLE_SIZE, u32::MAX)).sends(set(HEADER_TABLE_SIZE, 0)),
        agrees("6.5.2", "no streams of the server", set(MAX_CONCURRENT_STREAMS, 0)),
        agrees("6.5.2", "small heads only", set(MAX_HEADER_LIST_SIZE, 16)),
        agrees("6.5.2", "an unknown setting", set(0xf000, u32::MAX)),
        case("6.5.3", "the last of several values holds")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]))
            .hears(Wanted::Acknowledged(1))
            .sends(ask.whole(1))
            .hears(Wanted::Bytes(1, 1))
            .sends(set(INITIAL_WINDOW_SIZE, 1000))
            .answered(1),
        case("6.5.3", "each is acknowledged")
            .sends(set(INITIAL_WINDOW_SIZE, 1000))
            .sends(set(INITIAL_WINDOW_SIZE, 2000))
            .sends(settings(&[]))
            .hears(Wanted::Acknowledged(3)),
    ]
}

fn pushed(ask: Ask) -> Vec<Case> {
    let promise = [&2u32.to_be_bytes()[..], &ask.block(&[])].concat();
    vec![
        case("6.6", "a promise of the client's")
            .sends(ask.open(1))
            .sends(frame(PUSH_PROMISE, 0x4, 1, &promise))
            .fails(&[PROTOCOL_ERROR]),
        case("6.6", "one of an idle stream").sends(frame(PUSH_PROMISE, 0x4, 1, &promise)).fails(&[PROTOCOL_ERROR]),
        case("6.6", "one of the connection").sends(frame(PUSH_PROMISE, 0x4, 0, &promise)).fails(&[PROTOCOL_ERROR]),
    ]
}

fn pings() -> Vec<Case> {
    vec![
        case("6.7", "PING is answered with what it carries")
            .sends(ping(b"\0\x01\xfe\xff for"))
            .hears(Wanted::Pong(*b"\0\x01\xfe\xff for")),
        case("6.7", "an ACK is not answered")
            .sends(frame(PING, ACK, 0, b"no, this"))
            .sends(ping(b"but this"))
            .hears(Wanted::OnlyPong(*b"but this")),
        case("6.7", "of a stream").sends(frame(PING, NONE, 1, b"12345678")).fails(&[PROTOCOL_ERROR]),
        case("6.7", "too short").sends(frame(PING, NONE, 0, b"1234567")).fails(&[FRAME_SIZE_ERROR]).in_general_terms(),
        case("6.7", "too long").sends(frame(PING, NONE, 0, b"123456789")).fails(&[FRAME_SIZE_ERROR]).in_general_terms(),
        case("6.7", "empty").sends(frame(PING, NONE, 0, b"")).fails(&[FRAME_SIZE_ERROR]).in_general_terms(),
        case("6.7", "an ACK that is too short")
            .sends(frame(PING, ACK, 0, b"1234567"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
    ]
}

fn farewells(ask: Ask) -> Vec<Case> {
    vec![
        case("6.8", "what was asked for before GOAWAY is answered, then the connection ends")
            .sends(ask.whole(1))
            .sends(goaway(0, NO_ERROR))
            .answered(1)
            .closes(),
        case("6.8", "GOAWAY with words").sends(frame(GOAWAY, NONE, 0, [&[0; 8][..], b"good bye"].concat())).closes(),
        case("6.8", "GOAWAY of a stream").sends(frame(GOAWAY, NONE, 1, [0; 8])).fails(&[PROTOCOL_ERROR]),
        case("6.8", "GOAWAY that is too short")
            .sends(frame(GOAWAY, NONE, 0, [0; 7]))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("7", "GOAWAY with an unknown code").sends(ask.whole(1)).sends(goaway(0, UNKNOWN)).answered(1).closes(),
        case("7", "RST_STREAM with an unknown code").sends(ask.open(1)).sends(rst_stream(1, UNKNOWN)),
    ]
}
