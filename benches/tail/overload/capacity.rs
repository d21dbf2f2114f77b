//! What the backends can do alone: one request at a time for each worker, each asked anew as soon as it has answered.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arrivals::Arrivals;
use super::scenario::{Overload, WORKERS};
use crate::answer;
use crate::backends::{self, Backends};
use crate::content::Target;
use crate::fault::Script;
use crate::record::Record;
use crate::run::runtime;
use crate::scenario::{BACKENDS, Phases};
use crate::timer::Timer;
use crate::workers::Workers;

/// How long it is measured.
const LASTS: Duration = Duration::from_secs(4);

/// Answers per second.
pub(crate) fn measure(
    scenario: &Overload,
    phases: Phases,
    seed: u64,
    timer: &Arc<Timer>,
) -> Result<f64, Box<dyn Error>> {
    let arrivals = Arrivals::of(scenario, phases, seed);
    let course = scenario.course(phases, seed, &arrivals);
    let shared = Arc::new(Backends {
        // As in the warm phase.
        script: Script { seed, faults: course.faults, phase: Duration::MAX..Duration::MAX },
        caching: course.setup.caching,
        record: Record::default(),
        timer: timer.clone(),
        workers: (0..BACKENDS).map(|_| Workers::new(WORKERS)).collect(),
        begin: OnceLock::new(),
    });
    let (backends_own, load_own) = (runtime()?, runtime()?);
    let addresses = backends_own.block_on(backends::start(BACKENDS, &shared))?;
    let begin = Instant::now();
    shared.begin.get_or_init(|| begin.into_std());
    let next = Arc::new(AtomicUsize::new(0));
    let answered = load_own.block_on(async {
        let mut all = JoinSet::new();
        for address in addresses.iter().flat_map(|address| [*address; WORKERS]) {
            all.spawn(ask(address, begin + LASTS, next.clone()));
        }
        let answered = all.join_all().await.into_iter().sum::<std::io::Result<usize>>();
        answered.map(|answered| answered as f64 / begin.elapsed().as_secs_f64())
    });
    backends_own.shutdown_background();
    Ok(answered?)
}

/// One after the other until then; returns how many were answered.
async fn ask(address: SocketAddr, until: Instant, next: Arc<AtomicUsize>) -> std::io::Result<usize> {
    let mut connection = None;
    let mut answered = 0;
    while Instant::now() < until {
        let path = Target::Own(next.fetch_add(1, Ordering::Relaxed)).path();
        answer::get(&mut connection, address, &path, "ETag").await?;
        answered += 1;
    }
    Ok(answered)
}
