//! §6.1, §6.2 and §6.10: DATA, HEADERS and CONTINUATION.

use super::ask::Ask;
use super::case::{Case, case};
use super::code::{FRAME_SIZE_ERROR, PROTOCOL_ERROR, STREAM_CLOSED};
use super::frame::{
    END_HEADERS, END_STREAM, NONE, PADDED, PRIORITISED, continuation, data, dependency, headers, padded, ping, priority,
};

pub fn cases(ask: Ask) -> Vec<Case> {
    [bodies(ask), heads(ask), continued(ask)].into_iter().flatten().collect()
}

fn bodies(ask: Ask) -> Vec<Case> {
    vec![
        case("6.1", "DATA").sends(ask.open(1)).sends(data(1, END_STREAM, b"body")).answered(1),
        case("6.1", "several DATA")
            .sends(ask.open(1))
            .sends(data(1, NONE, b"bo"))
            .sends(data(1, END_STREAM, b"dy"))
            .answered(1),
        case("6.1", "an empty end")
            .sends(ask.open(1))
            .sends(data(1, NONE, b"body"))
            .sends(data(1, END_STREAM, b""))
            .answered(1),
        case("6.1", "padding")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM | PADDED, padded(5, b"body", 5)))
            .answered(1),
        case("6.1", "nothing but padding")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM | PADDED, padded(255, b"", 255)))
            .answered(1),
        case("6.1", "padding that is none")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM | PADDED, padded(0, b"body", 0)))
            .answered(1),
        case("6.1", "more padding than there is")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM | PADDED, padded(5, b"body", 0)))
            .fails(&[PROTOCOL_ERROR]),
        case("6.1", "as much padding as the frame is long")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM | PADDED, padded(4, b"", 3)))
            .fails(&[PROTOCOL_ERROR]),
        case("6.1", "no length of the padding")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM | PADDED, b""))
            .fails(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        case("6.1", "DATA of the connection").sends(data(0, END_STREAM, b"x")).fails(&[PROTOCOL_ERROR]),
        case("6.1", "DATA after END_STREAM")
            .sends(ask.open(1))
            .sends(data(1, END_STREAM, b"x"))
            .sends(data(1, END_STREAM, b"x"))
            .fails_or_resets(1, &[STREAM_CLOSED])
            .in_general_terms(),
    ]
}

fn heads(ask: Ask) -> Vec<Case> {
    let block = ask.block(&[]);
    let whole = END_HEADERS | ask.end();
    let sent = |flags: u8, payload: Vec<u8>| [headers(1, flags, payload), ask.rest(1)].concat();
    let prioritised = |weight: u16| [&dependency(0, weight)[..], &block].concat();
    vec![
        case("6.2", "HEADERS").sends(ask.whole(1)).answered(1),
        case("6.2", "padding").sends(sent(whole | PADDED, padded(5, &block, 5))).answered(1),
        case("6.2", "a priority").sends(sent(whole | PRIORITISED, prioritised(1))).answered(1),
        case("6.2", "padding and a priority")
            .sends(sent(whole | PADDED | PRIORITISED, padded(255, prioritised(256), 255)))
            .answered(1),
        case("6.2", "more padding than there is")
            .sends(headers(1, whole | PADDED, padded(255, &block, 0)))
            .fails(&[PROTOCOL_ERROR]),
        case("6.2", "as much padding as the frame is long")
            .sends(headers(1, whole | PADDED, padded(9, b"", 8)))
            .fails(&[PROTOCOL_ERROR]),
        case("6.2", "no length of the padding")
            .sends(headers(1, whole | PADDED, b""))
            .fails(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        case("6.2", "half a priority")
            .sends(headers(1, whole | PRIORITISED, b"abc"))
            .fails(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        case("6.2", "padding that takes the priority")
            .sends(headers(1, whole | PRIORITISED | PADDED, padded(3, b"abc", 3)))
            .fails(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        case("6.2", "no field at all").sends(headers(1, END_HEADERS | END_STREAM, b"")).malformed(1),
        case("6.2", "END_STREAM ends the request only after its CONTINUATION")
            .sends(headers(1, ask.end(), &block[..9]))
            .sends(continuation(1, END_HEADERS, &block[9..]))
            .sends(ask.rest(1))
            .answered(1),
        case("6.2", "PRIORITY where CONTINUATION must follow")
            .sends(headers(1, NONE, &block))
            .sends(priority(1, 0, 16))
            .fails(&[PROTOCOL_ERROR]),
        case("6.2", "another HEADERS where it must")
            .sends(headers(1, NONE, &block))
            .sends(ask.whole(3))
            .fails(&[PROTOCOL_ERROR]),
    ]
}

fn continued(ask: Ask) -> Vec<Case> {
    let block = ask.block(&[]);
    let (first, rest) = block.split_at(9);
    let begun = headers(1, ask.end(), first);
    vec![
        case("6.10", "one CONTINUATION")
            .sends(&begun)
            .sends(continuation(1, END_HEADERS, rest))
            .sends(ask.rest(1))
            .answered(1),
        case("6.10", "several")
            .sends(&begun)
            .sends(continuation(1, NONE, &rest[..5]))
            .sends(continuation(1, NONE, b""))
            .sends(continuation(1, END_HEADERS, &rest[5..]))
            .sends(ask.rest(1))
            .answered(1),
        case("6.10", "an empty HEADERS before, an empty one at the end")
            .sends(headers(1, ask.end(), b""))
            .sends(continuation(1, NONE, &block))
            .sends(continuation(1, END_HEADERS, b""))
            .sends(ask.rest(1))
            .answered(1),
        case("6.10", "another frame between")
            .sends(&begun)
            .sends(continuation(1, NONE, &rest[..5]))
            .sends(data(1, END_STREAM, b"x"))
            .fails(&[PROTOCOL_ERROR]),
        case("6.10", "PING between")
            .sends(&begun)
            .sends(continuation(1, NONE, &rest[..5]))
            .sends(ping(b"between!"))
            .fails(&[PROTOCOL_ERROR]),
        case("6.10", "one of the connection")
            .sends(&begun)
            .sends(continuation(0, END_HEADERS, rest))
            .fails(&[PROTOCOL_ERROR]),
        case("6.10", "one after END_HEADERS of HEADERS")
            .sends(ask.open(1))
            .sends(continuation(1, END_HEADERS, rest))
            .fails(&[PROTOCOL_ERROR]),
        case("6.10", "one after END_HEADERS of CONTINUATION")
            .sends(&begun)
            .sends(continuation(1, END_HEADERS, rest))
            .sends(continuation(1, END_HEADERS, rest))
            .fails(&[PROTOCOL_ERROR]),
        case("6.10", "one after DATA")
            .sends(ask.open(1))
            .sends(data(1, NONE, b"x"))
            .sends(continuation(1, END_HEADERS, rest))
            .fails(&[PROTOCOL_ERROR]),
        case("6.10", "one after PING")
            .sends(ping(b"ping me!"))
            .sends(continuation(1, END_HEADERS, rest))
            .fails(&[PROTOCOL_ERROR]),
    ]
}
