//! One run: a course of requests and faults before one proxy, from a fresh start to its end.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::backends::{self, Backends};
use crate::course::Course;
use crate::cpu;
use crate::fault::Script;
use crate::load::{self, Plan, Sample};
use crate::proxy::Program;
use crate::record::{Received, Record};
use crate::scenario::{BACKENDS, Phases};
use crate::timer::Timer;
use crate::workers::Workers;

/// The load begins a little later than it is started.
const LEAD: Duration = Duration::from_millis(100);
/// How long everything has to end after the last answer.
const SETTLE: Duration = Duration::from_secs(3);

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) phases: Phases,
    pub(crate) samples: Vec<Sample>,
    pub(crate) received: Vec<Received>,
    /// When backends accepted connections, since the load's begin.
    pub(crate) connections: Vec<Duration>,
    /// Attempts that had not ended at the backends when everything should have.
    pub(crate) open: usize,
    /// The same as the proxy's gauges have it.
    pub(crate) gauge: Option<u64>,
    /// Processor time of the proxy in the warm and in the fault phase.
    pub(crate) cpu: Option<[Duration; 2]>,
}

/// Who is asked.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Proxy(&'a Program),
    /// A backend itself, for what the bench adds.
    Backend,
}

/// Runs a course. Backends and load have threads of their own; one timer serves both.
pub(crate) fn run(course: Course, asked: Asked<'_>, timer: &Arc<Timer>) -> Result<Outcome, Box<dyn Error>> {
    let Course { seed, phases, faults, setup, requests, patience } = course;
    let phase = phases.warm..phases.warm + phases.fault;
    let shared = Arc::new(Backends {
        script: Script { seed, faults, phase: phase.clone() },
        caching: setup.caching,
        record: Record::default(),
        timer: timer.clone(),
        workers: setup.workers.map_or_else(Vec::new, |number| (0..BACKENDS).map(|_| Workers::new(number)).collect()),
        begin: OnceLock::new(),
    });
    let (backends_own, load_own) = (runtime()?, runtime()?);
    let addresses = backends_own.block_on(backends::start(BACKENDS, &shared))?;

    let (to, proxy): (SocketAddr, _) = match asked {
        Asked::Backend => (addresses[0], None),
        Asked::Proxy(program) => {
            let proxy = load_own.block_on(program.start(&addresses, setup))?;
            (proxy.address, Some(proxy))
        }
    };
    let processes = proxy.as_ref().map_or_else(Vec::new, |proxy| proxy.processes());
    let begin = *shared.begin.get_or_init(|| Instant::now().into_std() + LEAD);
    let of_cpu = timer.clone();
    let cpu = load_own.spawn(async move {
        let mut used = [Duration::ZERO; 3];
        for (used, at) in used.iter_mut().zip([Duration::ZERO, phase.start, phase.end]) {
            of_cpu.until(begin + at).await;
            *used = cpu::used(&processes)?;
        }
        Some([used[1] - used[0], used[2] - used[1]])
    });
    let samples = load_own.block_on(load::run(Plan { to, begin, patience, requests }, timer.clone()));
    let cpu = load_own.block_on(cpu)?;
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
    Ok(Outcome { phases, samples, received, connections, open, gauge, cpu })
}

pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
