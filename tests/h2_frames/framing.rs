//! §4: frames, their size, and field blocks over several of them.

use super::ask::Ask;
use super::block::field;
use super::case::{Case, Wanted, case};
use super::code::{COMPRESSION_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};
use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE, HEADERS, NONE, PING, RESERVED, SETTINGS, UNKNOWN,
    continuation, data, frame, headers, ping, priority, settings, window_update,
};

pub fn cases(ask: Ask) -> Vec<Case> {
    let block = ask.block(&[]);
    let (first, rest) = block.split_at(9);
    // HEADERS whose block goes on.
    let begun = headers(1, ask.end(), first);
    vec![
        case("4.1", "a frame of an unknown type is ignored").sends(frame(UNKNOWN, NONE, 0, b"what?")),
        case("4.1", "one on a stream is ignored")
            .sends(frame(UNKNOWN, 0xff, 1, b"what?"))
            .sends(ask.whole(1))
            .sends(frame(UNKNOWN, 0xff, 1, b"what?"))
            .answered(1),
        case("4.1", "an undefined flag of PING is ignored")
            .sends(frame(PING, 0xfe, 0, b"flagged!"))
            .hears(Wanted::Pong(*b"flagged!")),
        case("4.1", "undefined flags of HEADERS and DATA are ignored")
            .sends(headers(1, END_HEADERS | 0xc2, ask.post().block(&[])))
            .sends(data(1, END_STREAM | 0xf6, b"body"))
            .answered(1),
        case("4.1", "the reserved bit is ignored")
            .sends(frame(PING, NONE, RESERVED, b"reserved"))
            .hears(Wanted::Pong(*b"reserved")),
        case("4.1", "the reserved bit of a request is ignored")
            .sends(headers(RESERVED | 1, END_HEADERS | ask.end(), &block))
            .sends(ask.rest(RESERVED | 1))
            .answered(1),
        case("4.2", "DATA of the largest size")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM, vec![b'x'; FRAME_SIZE]))
            .answered(1),
        case("4.2", "HEADERS of the largest size")
            .sends(headers(1, END_HEADERS | ask.end(), filled(&block, FRAME_SIZE)))
            .sends(ask.rest(1))
            .answered(1),
        case("4.2", "DATA above it")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM, vec![b'x'; FRAME_SIZE + 1]))
            .fails_or_resets(1, &[FRAME_SIZE_ERROR]),
        case("4.2", "HEADERS above it")
            .sends(headers(1, END_HEADERS | ask.end(), filled(&block, FRAME_SIZE + 1)))
            .fails(&[FRAME_SIZE_ERROR]),
        case("4.2", "CONTINUATION above it")
            .sends(&begun)
            .sends(continuation(1, END_HEADERS, filled(rest, FRAME_SIZE + 1)))
            .fails(&[FRAME_SIZE_ERROR]),
        case("4.2", "SETTINGS above it")
            .sends(frame(SETTINGS, NONE, 0, vec![0; FRAME_SIZE + 2]))
            .fails(&[FRAME_SIZE_ERROR]),
        case("4.2", "a frame of an unknown type above it")
            .sends(frame(UNKNOWN, NONE, 0, vec![0; FRAME_SIZE + 1]))
            .fails(&[FRAME_SIZE_ERROR]),
        case("4.2", "a length of 16 MiB that never comes")
            .sends([0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1])
            .fails(&[FRAME_SIZE_ERROR]),
        case("4.3", "a block over many frames")
            .sends(headers(1, ask.end(), &block[..1]))
            .sends((1..5).flat_map(|at| continuation(1, NONE, &block[at..=at])).collect::<Vec<_>>())
            .sends(continuation(1, END_HEADERS, &block[5..]))
            .sends(ask.rest(1))
            .answered(1),
        case("4.3", "what is no block")
            .sends(headers(1, END_HEADERS | END_STREAM, [0xff; 12]))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("4.3", "a block cut within a field")
            .sends(headers(1, END_HEADERS | END_STREAM, &block[..block.len() - 3]))
            .fails(&[COMPRESSION_ERROR])
            .in_general_terms(),
        case("4.3", "PRIORITY within a block").sends(&begun).sends(priority(1, 0, 16)).fails(&[PROTOCOL_ERROR]),
        case("4.3", "HEADERS of another stream within it").sends(&begun).sends(ask.whole(3)).fails(&[PROTOCOL_ERROR]),
        case("4.3", "HEADERS of the same stream within it")
            .sends(&begun)
            .sends(frame(HEADERS, END_HEADERS, 1, rest))
            .fails(&[PROTOCOL_ERROR]),
        case("4.3", "CONTINUATION of another stream within it")
            .sends(&begun)
            .sends(frame(CONTINUATION, END_HEADERS, 3, rest))
            .fails(&[PROTOCOL_ERROR]),
        case("4.3", "DATA within it").sends(&begun).sends(data(1, END_STREAM, b"x")).fails(&[PROTOCOL_ERROR]),
        case("4.3", "PING within it").sends(&begun).sends(ping(b"in midst")).fails(&[PROTOCOL_ERROR]),
        case("4.3", "SETTINGS within it").sends(&begun).sends(settings(&[])).fails(&[PROTOCOL_ERROR]),
        case("4.3", "an ACK within it").sends(&begun).sends(frame(SETTINGS, ACK, 0, [])).fails(&[PROTOCOL_ERROR]),
        case("4.3", "WINDOW_UPDATE within it").sends(&begun).sends(window_update(0, 1)).fails(&[PROTOCOL_ERROR]),
        case("4.3", "the client leaves within it").sends(&begun).ends().closes(),
    ]
}

/// The block with one more field, so that it is `length` bytes long: a name of one byte, and five of lengths and such.
fn filled(block: &[u8], length: usize) -> Vec<u8> {
    let value = "x".repeat(length - block.len() - 6);
    let filled = [block, &field("x", value)].concat();
    assert_eq!(filled.len(), length);
    filled
}
