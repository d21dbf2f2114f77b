//! The suite: cases by section of RFC 9113 (and RFC 7541 for field blocks), and what runs them.

#![allow(unreachable_pub, reason = "modules of one test")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken test should stop at once")]

mod abuse;
pub mod ask;
mod block;
pub mod case;
mod client;
mod code;
mod control;
mod fields;
mod frame;
mod framing;
mod hpack;
mod payload;
mod requests;
pub mod run;
mod starting;
mod streams;
mod windows;

use ask::Ask;
use case::Case;

/// All cases, of a connection whose requests are this one.
pub fn cases(ask: Ask) -> Vec<Case> {
    [
        starting::cases(ask),
        framing::cases(ask),
        streams::cases(ask),
        payload::cases(ask),
        control::cases(ask),
        windows::cases(ask),
        fields::cases(ask),
        requests::cases(ask),
        abuse::cases(ask),
        hpack::cases(ask),
    ]
    .into_iter()
    .flatten()
    .collect()
}
