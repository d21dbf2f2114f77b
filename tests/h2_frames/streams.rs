//! §5: the life of streams, their numbers, and what is not known of.

use super::ask::Ask;
use super::case::{Case, Wanted, case};
use super::code::{CANCEL, FRAME_SIZE_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED};
use super::frame::{
    END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE, LARGEST_WINDOW, NONE, PING, PRIORITISED, UNKNOWN, continuation, data,
    dependency, frame, headers, ping, priority, rst_stream, settings, window_update,
};

/// Requests at a time on a connection, as the edge says in its SETTINGS.
pub const STREAMS: u32 = 100;

pub fn cases(ask: Ask) -> Vec<Case> {
    [states(ask), numbers(ask), others(ask)].into_iter().flatten().collect()
}

fn states(ask: Ask) -> Vec<Case> {
    let block = ask.block(&[]);
    vec![
        case("5.1", "idle: DATA").sends(data(1, END_STREAM, b"x")).fails(&[PROTOCOL_ERROR]),
        case("5.1", "idle: RST_STREAM").sends(rst_stream(1, CANCEL)).fails(&[PROTOCOL_ERROR]),
        case("5.1", "idle: WINDOW_UPDATE").sends(window_update(1, 100)).fails(&[PROTOCOL_ERROR]),
        case("5.1", "idle: CONTINUATION").sends(continuation(1, END_HEADERS, &block)).fails(&[PROTOCOL_ERROR]),
        case("5.1", "idle: PRIORITY").sends(priority(1, 0, 16)).sends(ask.whole(1)).answered(1),
        case("5.1", "idle, of the server: DATA").sends(data(2, END_STREAM, b"x")).fails(&[PROTOCOL_ERROR]),
        case("5.1", "idle, of the server: RST_STREAM").sends(rst_stream(2, CANCEL)).fails(&[PROTOCOL_ERROR]),
        case("5.1", "idle, of the server: WINDOW_UPDATE").sends(window_update(2, 100)).fails(&[PROTOCOL_ERROR]),
        case("5.1", "half-closed (remote): DATA")
            .sends(ask.whole(1))
            .sends(data(1, END_STREAM, b"x"))
            .fails_or_resets(1, &[STREAM_CLOSED])
            .in_general_terms(),
        case("5.1", "half-closed (remote): HEADERS")
            .sends(ask.whole(1))
            .sends(headers(1, END_HEADERS | END_STREAM, &block))
            .fails_or_resets(1, &[STREAM_CLOSED])
            .in_general_terms(),
        case("5.1", "half-closed (remote): CONTINUATION")
            .sends(ask.whole(1))
            .sends(continuation(1, END_HEADERS, &block))
            .fails_or_resets(1, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        case("5.1", "half-closed (remote): WINDOW_UPDATE").sends(ask.whole(1)).sends(window_update(1, 1)).answered(1),
        case("5.1", "half-closed (remote): PRIORITY").sends(ask.whole(1)).sends(priority(1, 0, 256)).answered(1),
        case("5.1", "half-closed (remote): RST_STREAM").sends(ask.whole(1)).sends(rst_stream(1, CANCEL)),
        case("5.1", "closed by the client's RST_STREAM: DATA")
            .sends(ask.open(1))
            .sends(rst_stream(1, CANCEL))
            .sends(data(1, END_STREAM, b"x"))
            .fails_or_resets(1, &[STREAM_CLOSED]),
        case("5.1", "closed by the client's RST_STREAM: HEADERS")
            .sends(ask.open(1))
            .sends(rst_stream(1, CANCEL))
            .sends(headers(1, END_HEADERS | END_STREAM, &block))
            .fails_or_resets(1, &[STREAM_CLOSED])
            .in_general_terms(),
        case("5.1", "closed by the client's RST_STREAM: CONTINUATION")
            .sends(ask.open(1))
            .sends(rst_stream(1, CANCEL))
            .sends(continuation(1, END_HEADERS, &block))
            .fails_or_resets(1, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        case("5.1", "closed by the client's RST_STREAM: another, PRIORITY and WINDOW_UPDATE")
            .sends(ask.open(1))
            .sends(rst_stream(1, CANCEL))
            .sends(rst_stream(1, CANCEL))
            .sends(priority(1, 0, 16))
            .sends(window_update(1, 1)),
        case("5.1", "closed by END_STREAM: DATA")
            .sends(ask.whole(1))
            .answered(1)
            .sends(data(1, END_STREAM, b"x"))
            .fails_or_resets(1, &[STREAM_CLOSED]),
        case("5.1", "closed by END_STREAM: HEADERS")
            .sends(ask.whole(1))
            .answered(1)
            .sends(headers(1, END_HEADERS | END_STREAM, &block))
            .fails_or_resets(1, &[STREAM_CLOSED])
            .in_general_terms(),
        case("5.1", "closed by END_STREAM: CONTINUATION")
            .sends(ask.whole(1))
            .answered(1)
            .sends(continuation(1, END_HEADERS, &block))
            .fails(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        case("5.1", "closed by END_STREAM: PRIORITY, WINDOW_UPDATE and RST_STREAM")
            .sends(ask.whole(1))
            .answered(1)
            .sends(priority(1, 0, 16))
            .sends(window_update(1, 1))
            .sends(rst_stream(1, NO_ERROR)),
        case("5.1", "closed by the server's RST_STREAM: what was under way is ignored")
            .sends(headers(1, END_HEADERS, ask.altered(":path", None)))
            .hears(Wanted::Reset(1, &[PROTOCOL_ERROR]))
            .sends(data(1, NONE, b"on its way"))
            .sends(window_update(1, 5))
            .sends(priority(1, 0, 16))
            .sends(rst_stream(1, CANCEL)),
    ]
}

fn numbers(ask: Ask) -> Vec<Case> {
    let all = |count: u32| (0..count).flat_map(|n| ask.open(2 * n + 1)).collect::<Vec<_>>();
    let ended = |count: u32| (0..count).flat_map(|n| data(2 * n + 1, END_STREAM, b"body")).collect::<Vec<_>>();
    let answers = |case: Case| (0..STREAMS).fold(case, |case, n| case.answered(2 * n + 1));
    vec![
        case("5.1.1", "an even number").sends(ask.whole(2)).fails(&[PROTOCOL_ERROR]),
        case("5.1.1", "a number below an earlier one").sends(ask.whole(5)).sends(ask.whole(3)).fails(&[PROTOCOL_ERROR]),
        case("5.1.1", "one below it, later")
            .sends(ask.whole(5))
            .answered(5)
            .sends(ask.whole(3))
            .fails(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        case("5.1.1", "DATA of a number that was passed over")
            .sends(ask.whole(5))
            .answered(5)
            .sends(data(3, END_STREAM, b"x"))
            .fails_or_resets(3, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        case("5.1.1", "numbers may be passed over").sends(ask.whole(7)).sends(ask.whole(99)).answered(7).answered(99),
        case("5.1.1", "HEADERS of the connection").sends(ask.whole(0)).fails(&[PROTOCOL_ERROR]),
        answers(case("5.1.2", "as many streams as are allowed").sends(all(STREAMS)).sends(ended(STREAMS))),
        answers(
            case("5.1.2", "one more is refused")
                .sends(all(STREAMS + 1))
                .hears(Wanted::Reset(2 * STREAMS + 1, &[REFUSED_STREAM, PROTOCOL_ERROR]))
                .sends(ended(STREAMS)),
        ),
        case("5.1.2", "what has ended does not count")
            .sends(all(STREAMS))
            .sends(rst_stream(1, CANCEL))
            .sends(ask.whole(2 * STREAMS + 1))
            .answered(2 * STREAMS + 1),
        case("5.2", "a client that takes nothing of one answer gets another")
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 0)]))
            .sends(ask.whole(1))
            .hears(Wanted::Bytes(1, 0))
            .sends(ask.whole(3))
            .sends(window_update(3, 1000))
            .answered(3)
            .sends(window_update(1, 1000))
            .answered(1)
            .sends(settings(&[(INITIAL_WINDOW_SIZE, 1000)])),
    ]
}

fn others(ask: Ask) -> Vec<Case> {
    let block = ask.block(&[]);
    let prioritised = |on: u32| {
        let payload = [&dependency(on, 256)[..], &block].concat();
        [headers(1, END_HEADERS | PRIORITISED | ask.end(), payload), ask.rest(1)].concat()
    };
    vec![
        case("5.3", "a priority in HEADERS is passed over").sends(prioritised(0)).answered(1),
        case("5.3", "an exclusive one on a stream that is not there").sends(prioritised(1 << 31 | 7)).answered(1),
        case("5.3", "HEADERS that depend on themselves (RFC 7540 §5.3.1)")
            .sends(prioritised(1))
            .resets(1, &[PROTOCOL_ERROR]),
        case("5.3", "PRIORITY that depends on itself (RFC 7540 §5.3.1)")
            .sends(ask.open(1))
            .sends(priority(1, 1, 16))
            .resets(1, &[PROTOCOL_ERROR]),
        case("5.4.1", "after an error the connection ends").sends(frame(PING, NONE, 0, b"short")).closes(),
        case("5.4.1", "GOAWAY says why")
            .sends(frame(PING, NONE, 0, b"short"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("5.4.1", "it comes while requests are under way")
            .sends(ask.open(1))
            .sends(ask.open(3))
            .sends(frame(PING, NONE, 0, b"short"))
            .fails(&[FRAME_SIZE_ERROR])
            .in_general_terms(),
        case("5.4.2", "an error of one stream leaves others alone")
            .sends(ask.open(1))
            .sends(headers(3, END_HEADERS | END_STREAM, ask.altered(":path", None)))
            .hears(Wanted::Reset(3, &[PROTOCOL_ERROR]))
            .sends(data(1, END_STREAM, b"body"))
            .answered(1),
        case("5.5", "an unknown frame between others")
            .sends(frame(UNKNOWN, 0xff, 0, b"what?"))
            .sends(ping(b"go ahead"))
            .hears(Wanted::Pong(*b"go ahead")),
        case("5.5", "an unknown frame within a block")
            .sends(headers(1, END_STREAM, &block[..9]))
            .sends(frame(UNKNOWN, NONE, 1, b"what?"))
            .fails(&[PROTOCOL_ERROR]),
        case("5.5", "an unknown frame of a closed and of an idle stream")
            .sends(ask.whole(1))
            .answered(1)
            .sends(frame(UNKNOWN, NONE, 1, b"what?"))
            .sends(frame(UNKNOWN, NONE, 9, b"what?")),
        case("5.5", "an unknown setting").sends(settings(&[(0xff, LARGEST_WINDOW)])).hears(Wanted::Acknowledged(1)),
    ]
}
