//! Forms of stored responses: made once, off the threads that serve, and kept with what they were made of.
//!
//! Who is first to want a form has it made, those who want it meanwhile wait for the same. Nobody waits long: for what
//! takes longer a client is served by a compressor of its own, while the form is made for those who come after it.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pingora::cache::CacheMeta;
use pingora::cache::storage::HitHandler;
use pingora::proxy::Session;
use tokio::sync::Semaphore;

use super::caching::Shared;
use super::ctx::Ctx;
use super::deadlines::Patience;
use super::flights::{Flight, Flights, Place};
use super::recode;
use crate::cache::compression::{Params, Plan, Recode};
use crate::clock;
use crate::coding::{Broken, Recoder};
use crate::store::{Ready, Store};
use crate::telemetry::Metrics;

/// How long a client waits for a form.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a client that wants a form waits for what is still coming in: what is in by then is compressed once for all.
const SETTLING: Duration = Duration::from_millis(50);

/// Where forms are made.
#[derive(Debug)]
pub(super) struct Forms {
    flights: Arc<Flights<(u64, Recode)>>,
    /// As many at a time as there are cores.
    places: Arc<Semaphore>,
    metrics: Metrics,
}

impl Forms {
    pub(super) fn new(metrics: Metrics) -> Forms {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Forms { flights: Arc::default(), places: Arc::new(Semaphore::new(cores)), metrics }
    }

    /// Where it is counted what was made.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Looks for the form of a stored response that the request is to be sent, and has it made if `may_make`. False if the stored
/// response cannot answer it.
pub(super) async fn find(
    shared: &Shared,
    session: &Session,
    meta: &CacheMeta,
    hit: &mut HitHandler,
    may_make: bool,
    ctx: &mut Ctx,
) -> bool {
    if session.subrequest_ctx.is_some() {
        return true;
    }
    let recode = match recode::plan_of_stored(session, ctx, meta) {
        Plan::AsIs { .. } => return true,
        Plan::Unreadable => return false,
        Plan::Recode(recode) => recode,
    };
    let ready = match Ready::of(hit) {
        None if may_make => match shared.store.settled(hit, SETTLING).await {
            Some(ready) => {
                *hit = ready.reader();
                ready
            }
            None => return true,
        },
        None => return true,
        Some(ready) => ready,
    };
    ctx.coded.form = ready.form(recode.to);
    if ctx.coded.form.is_some() || !may_make || !ready.may_have_forms() {
        return true;
    }
    let params = ctx.route.as_ref().and_then(|route| route.config.compression.clone()).unwrap_or_default();
    let ahead = match shared.forms.flights.enter((ready.number(), recode)) {
        Place::Other(ahead) => ahead,
        Place::First(flight) => {
            let ahead = flight.ahead();
            tokio::spawn(make(Arc::clone(&shared.forms), shared.store, ready.clone(), recode, params, flight));
            ahead
        }
    };
    ahead.wait(Patience::clamp(ctx.patience, PATIENCE, clock::now())).await;
    match shared.store.again(&ready) {
        Some(ready) => {
            ctx.coded.form = ready.form(recode.to);
            true
        }
        // What could not be decoded is no longer stored.
        None => recode.from.is_none(),
    }
}

/// Makes a form and keeps it. The flight ends with it.
async fn make(
    forms: Arc<Forms>,
    store: &'static Store,
    ready: Ready,
    recode: Recode,
    params: Params,
    flight: Flight<(u64, Recode)>,
) {
    let Ok(_place) = forms.places.acquire().await else { return };
    let metrics = forms.metrics.clone();
    let made = tokio::task::spawn_blocking(move || keep(store, &ready, recode, &params, &metrics)).await;
    if let Err(e) = made {
        ::log::error!("a form could not be made: {e}");
    }
    drop(flight);
}

fn keep(store: &Store, ready: &Ready, recode: Recode, params: &Params, metrics: &Metrics) {
    let made = Recoder::new(recode, params.level, params.max_decompressed).and_then(|mut recoder| {
        let made = recoder.whole(ready.bytes(), store.max_object());
        metrics.recoded(&recoder, made.as_ref().err().copied());
        made
    });
    match made {
        Ok(Some(body)) => store.keep_form(ready, recode.to, &body),
        Ok(None) => ready.has_no_room(),
        Err(Broken::Failed) => ::log::warn!("a stored response was not compressed: no memory"),
        Err(broken) => {
            ::log::warn!("a stored response cannot be decoded and is dropped: {}", broken.as_str());
            store.reject(ready);
        }
    }
}
