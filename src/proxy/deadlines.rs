//! How long the client says it waits, and what the backend is told of it.
//!
//! `X-Request-Timeout-Ms` and `grpc-timeout` count from when the request's head was read, and end with the head of a
//! response. Anyone may shorten the own wait and nobody can lengthen it: the route's `timeout` holds beside it.
//!
//! What may be stored is fetched for all, not only for the one who came first. Such a fetch has the route's time, and the
//! backend is told of that alone: else one client could, by waiting for a millisecond, cut a fetch that others wait for, or
//! have an answer stored for all that the backend cut short for its sake. A client whose time is over before the fetch
//! begins begins none.

use std::future::pending;
use std::time::Duration;

use http::HeaderName;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::ctx::Ctx;
use super::exchange::Exchange;
use super::{fields, respond};
use crate::clock;
use crate::last_word::LastWord;
use crate::tail::deadline::{self, Deadline};
use crate::units::Tick;
use crate::upstream::Fields;

// As text: pingora sends a field in the spelling it was given.
const X_REQUEST_TIMEOUT_MS: &str = "X-Request-Timeout-Ms";
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long a client waits for the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until then.
    pub deadline: Deadline,
    /// Whether it said so in gRPC's way.
    grpc: bool,
}

impl Patience {
    /// `d`, or how long the client still waits at `now` if that is less.
    pub(super) fn clamp(patience: Option<Patience>, d: Duration, now: Tick) -> Duration {
        patience.map_or(d, |patience| patience.deadline.clamp(d, now))
    }
}

/// Takes what the client says out of its request, which came at `started`: no key, variant or backend is to see it. What
/// cannot be read says nothing; of several the least holds.
pub(super) fn take(request: &mut RequestHeader, started: Tick) -> Option<Patience> {
    let headers = &request.headers;
    if !fields::has(headers, &TIMEOUT_MS) && !fields::has(headers, &GRPC_TIMEOUT) {
        return None;
    }
    let millis = headers.get_all(TIMEOUT_MS).iter().filter_map(|v| deadline::read_millis(v.as_bytes())).min();
    let grpc = headers.get_all(GRPC_TIMEOUT).iter().filter_map(|v| deadline::read_grpc(v.as_bytes())).min();
    fields::remove(request, |name| *name == TIMEOUT_MS || *name == GRPC_TIMEOUT);
    let wait = millis.into_iter().chain(grpc).min()?;
    Some(Patience { deadline: Deadline::new(started, wait), grpc: grpc.is_some() })
}

/// Until when the next head must have come: by the route's `timeout` after `begun`, or by what the client says.
pub(super) fn until(exchange: &Exchange, begun: Tick) -> Deadline {
    let routes = Deadline::new(begun, exchange.route.config.timeout);
    match exchange.patience {
        Some(patience) if is_binding(exchange, patience) => routes.earlier(patience.deadline),
        _ => routes,
    }
}

/// Whether a deadline that has passed was the client's own, which says nothing of the backend: else a client that waits for
/// a millisecond could have backends ejected.
pub(super) fn is_clients_own(exchange: &Exchange) -> bool {
    let has_passed = |patience: Patience| patience.deadline.left(clock::now()).is_none();
    exchange.patience.is_some_and(|patience| is_binding(exchange, patience) && has_passed(patience))
}

/// Returns when the client waits no longer.
pub(super) async fn passes(exchange: &Exchange) {
    match exchange.patience.filter(|patience| is_binding(exchange, *patience)) {
        Some(patience) => tokio::time::sleep(patience.deadline.left(clock::now()).unwrap_or_default()).await,
        None => pending().await,
    }
}

/// Has a client whose fetch goes on for all answered at the end of its own time: not where a stale copy may stand in for an
/// error, which is better than none though it come late, nor for a part, whose fetch ends with who set it off.
pub(super) fn leave_last_word(session: &Session, ctx: &mut Ctx, exchange: &Exchange) {
    let Some(patience) = exchange.patience.filter(|patience| !is_binding(exchange, *patience)) else { return };
    if !session.cache.enabled() || exchange.has_fallback {
        return;
    }
    if let Some(word) = LastWord::of_this_connection() {
        let (head, body) = respond::last_word(session, ctx);
        word.leave(patience.deadline.end(), head, body);
        ctx.last_word = Some(word);
    }
}

/// In which fields backends are told how long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    millis: bool,
    /// The end of a call.
    grpc: Option<Deadline>,
}

impl Told {
    /// What the pool is told, and in the client's way too.
    pub(super) fn of(exchange: &Exchange) -> Told {
        let pool = exchange.route.pool.config();
        let patience = exchange.patience.filter(|patience| patience.grpc && pool.tell_deadline);
        // To the end of the call, where the route's time is to the head of an answer: a stream may go on for longer.
        let total = Deadline::new(exchange.started, pool.timeouts.total);
        Told { millis: pool.tell_deadline, grpc: patience.map(|patience| patience.deadline.earlier(total)) }
    }

    /// Says what is `left`, in a head that is sent now.
    pub(super) fn tell(self, fields: &mut Fields<'_>, left: Duration) {
        if self.millis {
            fields.add(X_REQUEST_TIMEOUT_MS, itoa::Buffer::new().format(deadline::show_millis(left)));
        }
        if let Some(end) = self.grpc {
            let left = end.left(clock::now()).unwrap_or_default();
            fields.add(GRPC_TIMEOUT.as_str(), &deadline::show_grpc(left));
        }
    }
}

/// Not for a fetch whose answer may be stored, unless the client's time was over before it began.
fn is_binding(exchange: &Exchange, patience: Patience) -> bool {
    !exchange.for_all || patience.deadline.left(exchange.made).is_none()
}
