//! The test kit: a scripted origin, a raw client, an edge between them.
//!
//! A test is a script of parties followed by expectations on headers and counters. Parties wait for each other at a
//! [`Gate`] or for a condition of the origin's log ([`Origin::until`]), never for time to pass; [`eventually`] is for
//! what has neither (a counter that settles, a backend's state). Everything that can hang is under [`PATIENCE`] and
//! then panics with what was seen so far, so that a hang reads as a failure.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part of the kit")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken test should stop at once")]

pub mod authority;
pub mod busy;
pub mod client;
mod collector;
pub mod edge;
mod folder;
mod gate;
mod headers;
pub mod http2;
mod origin;
mod reply;
mod request;
mod response;
mod wire;

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

pub use client::{Client, Request, fetch, get};
pub use collector::{Collector, Span};
pub use folder::Folder;
pub use gate::Gate;
pub use headers::{Headers, Member};
pub use origin::{Deaf, Origin, Refusing};
pub use reply::{Reply, date_after};
pub use request::Seen;
pub use response::Response;

/// How long any one step of a test may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` yields something, asking every few milliseconds; panics after [`PATIENCE`].
pub async fn eventually<T, C, F>(what: &str, mut condition: C) -> T
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for `event` for at most [`PATIENCE`]; `state` says what to print if it does not come.
pub(crate) async fn patiently<T>(event: impl Future<Output = T>, state: impl FnOnce() -> String) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(happened) => happened,
        Err(_) => panic!("did not happen within {PATIENCE:?}: {}", state()),
    }
}
