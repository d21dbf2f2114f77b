//! What one client request asks of its pool, and what came of it.
//!
//! Pingora builds the upstream session before it hands over the request, so the plan travels in the request's
//! extensions, and what the session sees travels back to the phases (headers, log, metrics) through [`Seen`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Notify, SetOnce};

use super::deadlines::Patience;
use super::identity::Told;
use super::rescue;
use super::resume::Resume;
use crate::cache::validate::Mismatch;
use crate::clock;
use crate::grpc;
use crate::snapshot::Route;
use crate::tail::race::{Hedge, NoHedge};
use crate::telemetry::{Trace, Visits};
use crate::units::Tick;
use crate::upstream::gate::Permit;
use crate::upstream::{Failure, Introduction, Member};

/// The plan for the attempts of one request.
#[derive(Debug)]
pub struct Exchange {
    /// The route, with its pool.
    pub route: Arc<Route>,
    /// Whether a repeated attempt is harmless (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// Whether it is a gRPC call, and its method is safe.
    pub call: Option<Call>,
    /// When a 304 is an answer.
    pub condition: Condition,
    /// Whether the stored response is asked about by HEAD, since the client wants no more than its head.
    pub by_head: bool,
    /// What is stored of the answer, if the request was made one for the rest.
    pub resume: Option<Resume>,
    /// Whether the request may be copied to a second backend while the first one is slow.
    pub copying: Result<(), NoHedge>,
    /// Whether a stale copy may stand in for an error: then none is waited out.
    pub has_fallback: bool,
    /// What is to be known to have the rest of a body from another backend; nothing if that is not to be.
    pub rescue: Option<rescue::Terms>,
    /// How many others wait for the answer, if it is fetched for a key of the cache.
    pub waiters: Option<Arc<AtomicU32>>,
    /// When the request came: waiting for another's fetch and all attempts together have the route's timeout.
    pub started: Tick,
    /// How long the client says it waits.
    pub patience: Option<Patience>,
    /// Whether the answer may be stored, and so is for more than this client.
    pub for_all: bool,
    /// When the plan was made.
    pub made: Tick,
    /// Its place at the backends, while it needs one.
    permit: Mutex<Option<Permit>>,
    /// The attempts, as they are remembered.
    pub visits: Arc<Visits>,
    /// The trace that backends are told of, if there is one.
    pub trace: Option<Trace>,
    /// How connections to backends are introduced that it may use.
    pub opening: Option<Introduction>,
    /// What backends are told beside what the request says.
    pub told: Told,
    /// What has been seen so far.
    pub seen: Mutex<Seen>,
    /// Tells the session that the rest of the request's body is refused.
    refused: Notify,
    /// Tells the session that an interim response is on its way to the client.
    passed_on: Notify,
    /// Whether the answer is stored, once that is decided.
    stored: SetOnce<bool>,
}

impl Exchange {
    /// Nothing sent yet.
    pub fn new(route: Arc<Route>, idempotent: bool, condition: Condition, started: Tick) -> Exchange {
        Exchange {
            route,
            idempotent,
            call: None,
            condition,
            by_head: false,
            resume: None,
            copying: Err(NoHedge::Unsafe),
            has_fallback: false,
            rescue: None,
            waiters: None,
            started,
            patience: None,
            for_all: false,
            made: clock::now(),
            permit: Mutex::default(),
            visits: Arc::default(),
            trace: None,
            opening: None,
            told: Told::new(),
            seen: Mutex::new(Seen::default()),
            refused: Notify::new(),
            passed_on: Notify::new(),
            stored: SetOnce::new(),
        }
    }

    /// How many requests wait for the answer, this one among them.
    pub fn waiting(&self) -> u32 {
        1 + self.waiters.as_ref().map_or(0, |waiters| waiters.load(Ordering::Relaxed))
    }

    /// It has a place at the backends, if there is one.
    pub(super) fn admit(&mut self, permit: Option<Permit>) {
        *self.permit.get_mut() = permit;
    }

    /// Gives its place at the backends to who is next.
    pub(super) fn leave(&self) {
        self.permit.lock().take();
    }

    /// The request's body has grown too large: the session gives up.
    pub fn refuse_body(&self) {
        self.refused.notify_one();
    }

    /// Returns when the body is refused.
    pub async fn body_refused(&self) {
        self.refused.notified().await;
    }

    /// An interim response is on its way to the client.
    pub fn pass_on_interim(&self) {
        self.passed_on.notify_one();
    }

    /// Whether the answer is stored is decided.
    pub fn decide(&self, stored: bool) {
        // It is decided once for each head that is sent; the first is the one that came.
        let _known = self.stored.set(stored);
    }

    /// Whether the answer is stored; returns when that is decided, as it is where its head is sent.
    pub async fn is_stored(&self) -> bool {
        self.for_all && *self.stored.wait().await
    }

    /// Returns when the last interim response is on its way to the client.
    pub async fn interim_passed_on(&self) {
        self.passed_on.notified().await;
    }
}

/// A gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whether the route says that its method may be asked more than once.
    pub is_safe: bool,
}

/// What the request upstream is conditional on.
#[derive(Debug)]
pub enum Condition {
    /// Nothing: a 304 is no answer.
    None,
    /// The client's own copy: a 304 is for the client to judge.
    Clients,
    /// The stored response with this head: a 304 about another is none about it (RFC 9111 §4.3.4).
    Stored(HeaderMap),
}

/// What the attempts have come to.
#[derive(Debug, Default)]
pub struct Seen {
    /// The members asked, in order; the last one is the one that answered, if any did.
    pub tried: Vec<Arc<Member>>,
    /// When the first attempt began.
    pub began: Option<Tick>,
    /// From there to the last byte of a backend, or to where it was given up.
    pub took: Option<Duration>,
    /// How long the response's body was waited for.
    pub body_wait: Duration,
    /// When the whole of the request's body had been sent for the first time.
    pub uploaded: Option<Tick>,
    /// Whether the answer is that to a HEAD and stands for no body.
    pub bodyless: bool,
    /// The status that came, where the answer was put together from that and what was stored.
    pub spliced: Option<StatusCode>,
    /// Why the last attempt failed; cleared when a later one answers.
    pub failure: Option<Failure>,
    /// The status of the call, if it was one, from the last answer that came.
    pub call: Option<grpc::Status>,
    /// What became of the copy of a late request.
    pub hedge: Hedge,
    /// How long the request had waited when it was copied.
    pub hedge_delay: Option<Duration>,
    /// Why the 304 that came first was about another response than the stored one.
    pub mismatch: Option<Mismatch>,
}

impl Seen {
    /// This member's answer is used: it is the last one asked, and no failure counts any longer.
    pub(super) fn answered_by(&mut self, member: &Arc<Member>) {
        if let Some(place) = self.tried.iter().position(|tried| Arc::ptr_eq(tried, member)) {
            let winner = self.tried.remove(place);
            self.tried.push(winner);
        }
        self.failure = None;
    }
}

/// The plan as it travels in a request's extensions.
#[derive(Clone, Debug)]
pub(super) struct ExchangeRef(pub Arc<Exchange>);
