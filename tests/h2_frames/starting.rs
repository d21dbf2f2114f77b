//! §3: how a connection begins.

use super::ask::Ask;
use super::case::{Case, Wanted, case};
use super::frame::{ACK, HEADER_TABLE_SIZE, PREFACE, SETTINGS, frame, ping, settings};

const NO_SETTINGS: &str = "A client that begins with other frames than SETTINGS is served.";

pub fn cases(ask: Ask) -> Vec<Case> {
    // Of an edge that is to have no dynamic table: what answers say can be read.
    let begin = [PREFACE, &settings(&[(HEADER_TABLE_SIZE, 0)])].concat();
    vec![
        case("3.4", "the preface is answered with SETTINGS and an ACK")
            .bare()
            .sends(&begin)
            .hears(Wanted::Acknowledged(1)),
        case("3.4", "SETTINGS may be empty").bare().sends(PREFACE).sends(settings(&[])).hears(Wanted::Acknowledged(1)),
        case("3.4", "a request may follow at once").bare().sends(&begin).sends(ask.whole(1)).answered(1),
        case("3.4", "all of it byte by byte").bare().trickles([&begin[..], &ask.whole(1)].concat()).answered(1),
        case("3.4", "another preface").bare().sends(b"INVALID CONNECTION PREFACE\r\n\r\n").closes(),
        case("3.4", "a preface with another end").bare().sends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r").closes(),
        case("3.4", "HTTP/1.1 instead").bare().sends(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").closes(),
        case("3.4", "half a preface, then the client leaves").bare().sends(&PREFACE[..9]).ends().closes(),
        case("3.4", "a preface, then the client leaves").bare().sends(PREFACE).ends().closes(),
        case("3.4", "HEADERS instead of SETTINGS")
            .bare()
            .sends(PREFACE)
            .sends(ask.whole(1))
            .answered(1)
            .deviates(NO_SETTINGS),
        case("3.4", "PING instead of SETTINGS")
            .bare()
            .sends(PREFACE)
            .sends(ping(b"instead!"))
            .hears(Wanted::Pong(*b"instead!"))
            .deviates(NO_SETTINGS),
        case("3.4", "an ACK instead of SETTINGS")
            .bare()
            .sends(PREFACE)
            .sends(frame(SETTINGS, ACK, 0, []))
            .withstands()
            .deviates(NO_SETTINGS),
        case("3.4", "the preface twice").sends(PREFACE).closes(),
    ]
}
