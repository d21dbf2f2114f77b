//! A pool in virtual time: scripted backends, requests at random moments, and the shipped policy between them.
//!
//! Nothing here waits and nothing is random but by seed. Events are taken in order of time, and of creation where
//! times are equal, so one seed is one run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use hedgerow::balance::exclude::Exclude;
use hedgerow::balance::least_loaded::{Candidate, pick};
use hedgerow::balance::slow_start;
use hedgerow::tail::ages::{InFlight, Token};
use hedgerow::tail::ewma::PeakEwma;
use hedgerow::tail::health::{self, Health, MayEject, State};
use hedgerow::tail::window::Window;
use hedgerow::units::Tick;

/// What a backend does with one request.
pub(crate) enum Answer {
    /// Answers after this long.
    After(Duration),
    /// Fails after this long.
    Fails(Duration),
    /// Never says anything; the client's timeout ends it.
    Never,
}

/// How a backend behaves: what it does with a request that reaches it at a time.
pub(crate) type Script = Box<dyn Fn(Duration, &mut fastrand::Rng) -> Answer>;

/// Service time with this median and a 99th percentile two and a half times above (a lognormal, sigma 0.394).
pub(crate) fn lognormal(median: Duration, rng: &mut fastrand::Rng) -> Duration {
    let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
    median.mul_f64((0.394 * normal).exp())
}

/// A backend that always answers with this median.
pub(crate) fn steady(millis: u64) -> Script {
    Box::new(move |_, rng| Answer::After(lognormal(Duration::from_millis(millis), rng)))
}

/// One backend of the pool, with the signals that the edge keeps of it.
struct Backend {
    script: Script,
    weight: f64,
    joined: Option<Tick>,
    ewma: PeakEwma,
    flight: InFlight,
    window: Window,
    health: Health,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// When it was sent, from the start of the run.
    pub(crate) sent: Duration,
    /// The index of its backend.
    pub(crate) backend: usize,
    /// How long the client waited.
    pub(crate) took: Duration,
    /// Whether it was answered.
    pub(crate) answered: bool,
}

/// The load and the limits of a run.
pub(crate) struct Load {
    /// Requests per second, at random moments (a Poisson process), whatever the backends do.
    pub(crate) per_second: f64,
    /// How long a client waits.
    pub(crate) timeout: Duration,
    /// How long a backend takes to full weight.
    pub(crate) slow_start: Duration,
    /// Ejection.
    pub(crate) ejection: health::Params,
}

impl Load {
    pub(crate) fn per_second(per_second: f64) -> Load {
        Load {
            per_second,
            timeout: Duration::from_secs(5),
            slow_start: Duration::from_secs(20),
            ejection: health::Params { consecutive: 0, ..health::Params::default() },
        }
    }
}

/// A pool, its load, and the time between them.
pub(crate) struct Pool {
    load: Load,
    backends: Vec<Backend>,
    rng: fastrand::Rng,
    now: Tick,
    end: Tick,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    outcomes: Vec<Outcome>,
}

enum Event {
    Arrive,
    End { backend: usize, sent: Tick, answered: bool, token: Token },
    Publish,
}

/// An event, ordered by its time and then by its number.
struct Scheduled(Tick, u64, Event);

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl Pool {
    /// A pool of backends by script and weight, all of them there since long ago.
    pub(crate) fn new(load: Load, seed: u64, scripts: Vec<(Script, f64)>) -> Pool {
        let start = Tick::from_nanos(0);
        let mut pool = Pool {
            load,
            backends: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            now: start,
            end: start,
            queue: BinaryHeap::new(),
            scheduled: 0,
            outcomes: Vec::new(),
        };
        scripts.into_iter().for_each(|(script, weight)| pool.add(script, weight, None));
        pool.after(Duration::ZERO, Event::Arrive);
        pool.after(Duration::ZERO, Event::Publish);
        pool
    }

    /// A backend joins now.
    pub(crate) fn join(&mut self, script: Script, weight: f64) {
        self.add(script, weight, Some(self.now));
    }

    /// Sends requests for `time` more.
    pub(crate) fn run(&mut self, time: Duration) {
        self.end = self.end + time;
        while let Some(Reverse(Scheduled(when, _, event))) = self.next_before(self.end) {
            self.now = when;
            self.step(event);
        }
        self.now = self.end;
    }

    /// Sends nothing more, waits for what is in flight, and returns how much is in flight then.
    pub(crate) fn drain(&mut self) -> u32 {
        while let Some(Reverse(Scheduled(when, _, event))) = self.queue.pop() {
            self.now = when;
            if let Event::End { .. } = event {
                self.step(event);
            }
        }
        assert!(self.backends.iter().all(|backend| backend.flight.oldest().is_none()));
        self.backends.iter().map(|backend| backend.flight.count()).sum()
    }

    /// What became of the requests that have ended, in order of their end.
    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The requests sent from second `from` to second `to`, as far as they have ended.
    pub(crate) fn sent(&self, from: u64, to: u64) -> impl Iterator<Item = &Outcome> {
        let span = Duration::from_secs(from)..Duration::from_secs(to);
        self.outcomes.iter().filter(move |outcome| span.contains(&outcome.sent))
    }

    /// The share that `backend` got of the requests sent from second `from` to second `to`.
    pub(crate) fn share(&self, backend: usize, from: u64, to: u64) -> f64 {
        let own = self.sent(from, to).filter(|outcome| outcome.backend == backend).count();
        own as f64 / self.sent(from, to).count() as f64
    }

    /// The quantile `q` of the clients' waits for requests sent from second `from` to second `to`.
    pub(crate) fn quantile(&self, q: f64, from: u64, to: u64) -> Duration {
        let mut took: Vec<Duration> = self.sent(from, to).map(|outcome| outcome.took).collect();
        took.sort_unstable();
        took[((q * took.len() as f64) as usize).min(took.len() - 1)]
    }

    fn add(&mut self, script: Script, weight: f64, joined: Option<Tick>) {
        let health = Health::new(self.load.ejection.clone());
        let (ewma, flight, window) = (PeakEwma::new(), InFlight::new(), Window::new());
        self.backends.push(Backend { script, weight, joined, ewma, flight, window, health });
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(self.now + wait, self.scheduled, event)));
    }

    fn next_before(&mut self, end: Tick) -> Option<Reverse<Scheduled>> {
        let due = self.queue.peek().is_some_and(|Reverse(first)| first.0 < end);
        due.then(|| self.queue.pop()).flatten()
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                self.send();
                let gap = -(1.0 - self.rng.f64()).ln() / self.load.per_second;
                self.after(Duration::from_secs_f64(gap), Event::Arrive);
            }
            Event::End { backend, sent, answered, token } => self.end(backend, sent, answered, token),
            Event::Publish => {
                self.backends.iter().for_each(|backend| backend.window.publish(self.now));
                self.after(Duration::from_secs(1), Event::Publish);
            }
        }
    }

    #[expect(clippy::panic, reason = "a run without a usable backend is a fault of the test")]
    fn send(&mut self) {
        let now = self.now;
        let candidates: Vec<Candidate> =
            self.backends.iter().map(|backend| backend.candidate(&self.load, now)).collect();
        let ejected = |index: &usize| matches!(self.backends[*index].health.state(now), State::Ejected(_));
        let exclude: Exclude = (0..self.backends.len()).filter(ejected).collect();
        let Ok(index) = pick(&candidates, &exclude, now, &mut self.rng) else {
            panic!("the last usable backend is never ejected");
        };
        let backend = &self.backends[index];
        let token = backend.flight.begin(now);
        let elapsed = now.since(Tick::from_nanos(0));
        let (took, answered) = match (backend.script)(elapsed, &mut self.rng) {
            Answer::After(took) if took < self.load.timeout => (took, true),
            Answer::Fails(took) => (took.min(self.load.timeout), false),
            Answer::After(_) | Answer::Never => (self.load.timeout, false),
        };
        self.after(took, Event::End { backend: index, sent: now, answered, token });
    }

    fn end(&mut self, index: usize, sent: Tick, answered: bool, token: Token) {
        let now = self.now;
        let took = now.since(sent);
        let penalty = self.penalty();
        let usable = |backend: &Backend| !matches!(backend.health.state(now), State::Ejected(_));
        let others = self.backends.iter().enumerate().filter(|&(other, b)| other != index && usable(b)).count();
        let backend = &mut self.backends[index];
        backend.flight.end(token);
        if answered {
            backend.ewma.observe(took, now);
            backend.window.record(took);
            backend.health.on_success(now);
        } else {
            backend.ewma.observe_failure(took, penalty, now);
            backend.health.on_failure(now, MayEject::others(others));
        }
        let sent = sent.since(Tick::from_nanos(0));
        self.outcomes.push(Outcome { sent, backend: index, took, answered });
    }

    /// Five times the best backend's p99, and at least a second.
    fn penalty(&self) -> Duration {
        let seen = self.backends.iter().map(|backend| backend.window.quantiles()).filter(|q| q.count > 0);
        let best = seen.map(|q| q.p99).min().unwrap_or_default();
        (5 * best).max(Duration::from_secs(1))
    }
}

impl Backend {
    fn candidate(&self, load: &Load, now: Tick) -> Candidate {
        let since = self.health.recovered(now).max(self.joined);
        Candidate {
            in_flight: self.flight.count(),
            cost: self.ewma.cost(now),
            oldest: self.flight.oldest(),
            weight: self.weight * slow_start::factor(since, load.slow_start, now),
        }
    }
}
