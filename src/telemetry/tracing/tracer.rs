//! Where requests hand in what is recorded of them.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::batches::Batches;
use super::record::Recorded;
use crate::clock;
use crate::config;
use crate::tail::rate::{Limiter, Params, Quota};
use crate::telemetry::{Dropped, Metrics};
use crate::trace::sampling::{End, Reason};

/// The way to a collector; clones share it. When the last one is dropped, what is queued is still sent.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    config: Arc<config::Tracing>,
    /// How much is kept of what was not drawn.
    kept: Limiter,
    batches: Batches,
    metrics: Metrics,
}

impl Tracer {
    /// Starts the thread that speaks to the collector, which need not be there.
    ///
    /// # Errors
    /// A sentence for the operator: the exporter cannot be made, or the thread not be started.
    pub fn start(config: Option<&Arc<config::Tracing>>, metrics: &Metrics) -> Result<Tracer, String> {
        let Some(config) = config else { return Ok(Tracer(None)) };
        let quota = Quota { rate: config.keep_rate, burst: config.keep_rate.in_a_second() };
        let kept = Limiter::new(Params { client: None, total: Some(quota) }, RandomState::new());
        let batches =
            Batches::start(config.clone(), metrics.clone()).map_err(|e| format!("cannot export traces: {e}"))?;
        Ok(Tracer(Some(Arc::new(Open { config: config.clone(), kept, batches, metrics: metrics.clone() }))))
    }

    /// Why a request is recorded that ended like this, if it is.
    pub fn judge(&self, sampled: Option<Reason>, end: &End) -> Option<Reason> {
        let open = self.0.as_ref()?;
        if sampled.is_some() {
            return sampled;
        }
        let reason = open.config.keep.at_end(end)?;
        // The limit is one for all, so it does not matter whose address it is asked for.
        let admitted =
            open.kept.admit(IpAddr::V4(Ipv4Addr::UNSPECIFIED), clock::now()).is_none_or(|kept| kept.admitted);
        if !admitted {
            open.metrics.traces().dropped(Dropped::Rate, 1);
        }
        admitted.then_some(reason)
    }

    /// Hands a request in. Never waits.
    pub fn record(&self, recorded: Recorded) {
        if let Some(open) = &self.0 {
            open.metrics.traces().recorded(recorded.reason);
            open.batches.push(recorded);
        }
    }

    /// Whether spans tell the query.
    pub fn tells_query(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.config.query)
    }

    /// Has what is queued sent and takes no more; waits for it for at most `patience`. How many traces were not sent by then.
    /// Blocks the thread.
    pub fn close(&self, patience: Duration) -> u64 {
        self.0.as_ref().map_or(0, |open| open.batches.close(patience))
    }
}
