//! What one client request asks of its pool, and what came of it.
//!
//! Pingora builds the upstream session before it hands over the request, so the plan travels in the request's
//! extensions, and what the session sees travels back to the phases (headers, log, metrics) through [`Seen`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::snapshot::Route;
use crate::upstream::{Failure, Member};

/// The plan for the attempts of one request.
#[derive(Debug)]
pub struct Exchange {
    /// The route, with its pool.
    pub route: Arc<Route>,
    /// Whether a repeated attempt is harmless (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// Whether a 304 is an answer to what is sent upstream.
    pub conditional: bool,
    /// What has been seen so far.
    pub seen: Mutex<Seen>,
}

/// What the attempts have come to.
#[derive(Debug, Default)]
pub struct Seen {
    /// Attempts begun.
    pub attempts: u32,
    /// The member of the last attempt.
    pub member: Option<Arc<Member>>,
    /// Time to first byte of the attempt that answered.
    pub first_byte: Option<Duration>,
    /// Why the last attempt failed; cleared when a later one answers.
    pub failure: Option<Failure>,
}

/// The plan as it travels in a request's extensions.
#[derive(Clone, Debug)]
pub(super) struct ExchangeRef(pub Arc<Exchange>);
