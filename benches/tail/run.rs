//! One run: a scenario before one proxy, from a fresh start to its end.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::backends::{self, Backends};
use crate::content::Target;
use crate::fault::Script;
use crate::load::{self, Plan, Sample};
use crate::proxy::Program;
use crate::record::{Received, Record};
use crate::scenario::{BACKENDS, Phases, Scenario};
use crate::timer::Timer;

/// The load begins a little later than it is started.
const LEAD: Duration = Duration::from_millis(100);
/// How long everything has to end after the last answer.
const SETTLE: Duration = Duration::from_secs(3);

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) phases: Phases,
    pub(crate) rate: u32,
    pub(crate) samples: Vec<Sample>,
    pub(crate) received: Vec<Received>,
    /// When backends accepted connections, since the load's begin.
    pub(crate) connections: Vec<Duration>,
    /// Attempts that had not ended at the backends when everything should have.
    pub(crate) open: usize,
    /// The same as the proxy's gauges have it.
    pub(crate) gauge: Option<u64>,
}

/// Who is asked.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Proxy(&'a Program),
    /// A backend itself, for what the bench adds.
    Backend,
}

/// Runs a scenario. Backends and load have threads of their own; one timer serves both.
pub(crate) fn run(
    scenario: &Scenario,
    phases: Phases,
    seed: u64,
    asked: Asked<'_>,
    timer: &Arc<Timer>,
) -> Result<Outcome, Box<dyn Error>> {
    let phases = Phases { fault: phases.fault * scenario.longer, ..phases };
    let phase = phases.warm..phases.warm + phases.fault;
    let shared = Arc::new(Backends {
        script: Script { seed, faults: scenario.faults.clone(), phase },
        caching: scenario.caching,
        record: Record::default(),
        timer: timer.clone(),
        begin: OnceLock::new(),
    });
    let (backends_own, load_own) = (runtime()?, runtime()?);
    let addresses = backends_own.block_on(backends::start(BACKENDS, &shared))?;

    let (to, proxy) = match asked {
        Asked::Backend => (addresses[0], None),
        Asked::Proxy(program) => {
            let proxy = load_own.block_on(program.start(&addresses, scenario.caching))?;
            (proxy.address, Some(proxy))
        }
    };
    let samples = load_own.block_on(load::run(plan(scenario, phases, to, &shared), timer.clone()));
    let (open, gauge) = load_own.block_on(async {
        let until = Instant::now() + SETTLE;
        loop {
            let gauge = match &proxy {
                Some(proxy) => proxy.in_flight().await?,
                None => None,
            };
            let open = shared.record.open();
            if (open == 0 && gauge.unwrap_or_default() == 0) || Instant::now() > until {
                return std::io::Result::Ok((open, gauge));
            }
            tokio::time::sleep(LEAD).await;
        }
    })?;
    drop(proxy);
    backends_own.shutdown_background();
    let (received, connections) = shared.record.taken();
    Ok(Outcome { phases, rate: scenario.rate, samples, received, connections, open, gauge })
}

/// The whole load; sets when it begins.
fn plan(scenario: &Scenario, phases: Phases, to: SocketAddr, shared: &Backends) -> Plan {
    let begin = *shared.begin.get_or_init(|| Instant::now().into_std() + LEAD);
    let all = phases.warm + phases.fault + phases.recovery;
    let requests = (all.as_secs_f64() * f64::from(scenario.rate)).round() as usize;
    let target = |request| {
        let warm = load::due(request, scenario.rate) < phases.warm;
        if scenario.traffic.is_hot(request, warm) { Target::Hot } else { Target::Own(request) }
    };
    Plan { to, begin, rate: scenario.rate, targets: (0..requests).map(target).collect() }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
