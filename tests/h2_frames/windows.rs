//! §6.9: flow control.

use super::ask::Ask;
use super::case::{Case, Wanted, case};
use super::code::{CANCEL, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};
use super::frame::{
    END_HEADERS, END_STREAM, FIRST_WINDOW, FRAME_SIZE, INITIAL_WINDOW_SIZE, LARGEST_WINDOW, NONE, RESERVED,
    WINDOW_UPDATE, data, frame, headers, rst_stream, settings, window_update,
};

/// What the edge takes of one request's body unread, and of all of a connection's: bytes.
const STREAM: usize = 256 * 1024;
const CONNECTION: usize = 1024 * 1024;

pub fn cases(ask: Ask) -> Vec<Case> {
    [updates(ask), windows(ask), initial(ask)].into_iter().flatten().collect()
}

fn updates(ask: Ask) -> Vec<Case> {
    vec![
        case("6.9", "of the connection").sends(window_update(0, 1)).sends(ask.whole(1)).answered(1),
        case("6.9", "of a stream")
            .sends(ask.open(1))
            .sends(window_update(1, 1))
            .sends(data(1, END_STREAM, b"x"))
            .answered(1),
        case("6.9", "the reserved bit is ignored")
            .sends(window_update(0, RESERVED | 1))
            .sends(ask.whole(1))
            .answered(1),
        case("6.9", "nothing more for the connection").sends(window_update(0, 0)).fails(&[PROTOCOL_ERROR]),
        case("6.9", "nothing more for a stream")
            .sends(ask.open(1))
            .sends(window_update(1, 0))
            .fails_or_resets(1, &[PROTOCOL_ERROR]),
        case("6.9", "too short")
            .sends(frame(WINDOW_UPDATE, NONE, 0, b"abc"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("6.9", "too long")
            .sends(frame(WINDOW_UPDATE, NONE, 0, b"abcde"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("6.9", "too short, of a stream")
            .sends(ask.open(1))
            .sends(frame(WINDOW_UPDATE, NONE, 1, b"abc"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
    ]
}

fn windows(ask: Ask) -> Vec<Case> {
    // To a backend that takes nothing.
    let deaf = |stream: u32| headers(stream, END_HEADERS, ask.post().altered(":path", Some("/deaf")));
    let body = |stream: u32, length: usize| {
        let piece = data(stream, NONE, vec![b'x'; FRAME_SIZE]);
        let rest = length % FRAME_SIZE;
        let end = if rest == 0 { Vec::new() } else { data(stream, NONE, vec![b'x'; rest]) };
        [piece.repeat(length / FRAME_SIZE), end].concat()
    };
    let four: Vec<u8> = (0..4).flat_map(|n| [deaf(2 * n + 1), body(2 * n + 1, STREAM)].concat()).collect();
    assert_eq!(4 * STREAM, CONNECTION);
    vec![
        case("6.9.1", "a window of one byte")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 1)]))
            .sends(ask.whole(1))
            .hears(Wanted::Bytes(1, 1))
            .sends(window_update(1, 2))
            .hears(Wanted::Bytes(1, 3))
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 1000)]))
            .answered(1),
        case("6.9.1", "the largest window of the connection")
            .sends(window_update(0, LARGEST_WINDOW - FIRST_WINDOW))
            .sends(ask.whole(1))
            .answered(1),
        case("6.9.1", "one byte above it")
            .sends(window_update(0, LARGEST_WINDOW - FIRST_WINDOW + 1))
            .fails(&[FLOW_CONTROL_ERROR]),
        case("6.9.1", "far above it, of the connection")
            .sends(window_update(0, LARGEST_WINDOW))
            .sends(window_update(0, LARGEST_WINDOW))
            .fails(&[FLOW_CONTROL_ERROR]),
        case("6.9.1", "far above it, of a stream")
            .sends(ask.open(1))
            .sends(window_update(1, LARGEST_WINDOW))
            .sends(window_update(1, LARGEST_WINDOW))
            .resets(1, &[FLOW_CONTROL_ERROR]),
        case("6.9.1", "as much as the edge takes of a body")
            .sends(deaf(1))
            .sends(body(1, STREAM))
            .sends(rst_stream(1, CANCEL)),
        case("6.9.1", "one byte more")
            .sends(deaf(1))
            .sends(body(1, STREAM + 1))
            .fails_or_resets(1, &[FLOW_CONTROL_ERROR]),
        case("6.9.1", "one byte more than it takes of all")
            .sends(&four)
            .sends(deaf(9))
            .sends(body(9, 1))
            .fails_or_resets(9, &[FLOW_CONTROL_ERROR]),
        case("6.9.1", "empty frames need no window")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 0)]))
            .sends(ask.head(1))
            .answered(1)
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 1000)])),
    ]
}

fn initial(ask: Ask) -> Vec<Case> {
    let set = |value: u32| settings(&[(INITIAL_WINDOW_SIZE, value)]);
    vec![
        case("6.9.2", "a change is one of streams that are there")
            .sends(set(0))
            .sends(ask.whole(1))
            .hears(Wanted::Bytes(1, 0))
            .sends(set(1))
            .hears(Wanted::Bytes(1, 1))
            .sends(set(1000))
            .answered(1),
        case("6.9.2", "a window may be negative")
            .sends(set(3))
            .sends(ask.whole(1))
            .hears(Wanted::Bytes(1, 3))
            .sends(set(2))
            .sends(window_update(1, 1))
            .hears(Wanted::Bytes(1, 3))
            .sends(window_update(1, 1))
            .hears(Wanted::Bytes(1, 4))
            .sends(set(1000))
            .answered(1),
        case("6.9.2", "a value above the largest window")
            .sends(set(u32::MAX))
            .fails(&[FLOW_CONTROL_ERROR])
            .in_general_terms(),
        case("6.9.2", "a value that makes a stream's window too large")
            .sends(ask.open(1))
            .sends(window_update(1, LARGEST_WINDOW - FIRST_WINDOW))
            .sends(set(FIRST_WINDOW + 1))
            .fails(&[FLOW_CONTROL_ERROR]),
        case("6.9.2", "it is not one of the connection")
            .sends(set(0))
            .sends(window_update(0, LARGEST_WINDOW - FIRST_WINDOW))
            .sends(set(1000)),
    ]
}
