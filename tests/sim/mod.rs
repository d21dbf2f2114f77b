//! A pool in virtual time: scripted backends, requests at random moments, and the shipped policy between them.
//!
//! Nothing here waits and nothing is random but by seed. Events are taken in order of time, and of creation where
//! times are equal, so one seed is one run.

#![allow(dead_code, unused_imports, reason = "each test that has a pool in virtual time uses a part of it")]

mod backend;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use hedgerow::balance::exclude::Exclude;
use hedgerow::balance::least_loaded::{Candidate, pick};
use hedgerow::tail::budget::{self, Budget};
use hedgerow::tail::deferred::{Deferred, Place};
use hedgerow::tail::delays::Delays;
use hedgerow::tail::exceedance::{self, Exceedance};
use hedgerow::tail::health::{self, Health, MayEject, State};
use hedgerow::tail::hedging::{self, Asked, Hedging};
use hedgerow::tail::probation::{self, Room};
use hedgerow::tail::race::{Action, Event as Happened, Hedge, Leg, NoHedge, Race};
use hedgerow::tail::signals::{Expect, Kind, Signals, Trial};
use hedgerow::units::Tick;

use backend::Backend;
pub(crate) use backend::{Answer, Script, lognormal, pausing, sometimes, steady};

/// Attempts at one request that may follow a failure.
const RETRIES: u32 = 2;

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// When it was sent, from the start of the run.
    pub(crate) sent: Duration,
    /// The index of the backend whose answer it got, or that failed last.
    pub(crate) backend: usize,
    /// How long the client waited.
    pub(crate) took: Duration,
    /// Whether it was answered.
    pub(crate) answered: bool,
}

/// One attempt at one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// When, from the start of the run.
    pub(crate) at: Duration,
    /// The index of the backend.
    pub(crate) backend: usize,
    /// What kind of attempt.
    pub(crate) kind: Kind,
}

/// The load and the limits of a run.
pub(crate) struct Load {
    /// Requests per second, at random moments (a Poisson process), whatever the backends do.
    pub(crate) per_second: f64,
    /// How long a backend may take to its first byte.
    pub(crate) timeout: Duration,
    /// How long a backend takes to full weight.
    pub(crate) slow_start: Duration,
    /// Ejection.
    pub(crate) ejection: health::Params,
    /// Hedging; with `None` there are no copies, no probation and no retries.
    pub(crate) hedge: Option<hedging::Params>,
    /// Requests that each backend works on at a time.
    pub(crate) workers: usize,
    /// Probation.
    pub(crate) probation: probation::Params,
    /// The share of requests that cost this many times more, wherever they go.
    pub(crate) dear: (f64, f64),
}

impl Load {
    pub(crate) fn per_second(per_second: f64) -> Load {
        Load {
            per_second,
            timeout: Duration::from_secs(5),
            slow_start: Duration::from_secs(20),
            ejection: health::Params { consecutive: 0, ..health::Params::default() },
            hedge: None,
            workers: usize::MAX,
            probation: probation::Params { enabled: false, ..probation::Params::default() },
            dear: (0.0, 1.0),
        }
    }

    /// The edge as it is shipped.
    pub(crate) fn by_default(per_second: f64) -> Load {
        Load {
            ejection: health::Params::default(),
            hedge: Some(hedging::Params::default()),
            probation: probation::Params::default(),
            ..Load::per_second(per_second)
        }
    }
}

/// A pool, its load, and the time between them.
pub(crate) struct Pool {
    load: Load,
    backends: Vec<Backend>,
    hedging: Hedging,
    delays: Delays,
    ledger: Budget,
    deferred: Deferred<u64>,
    late: Exceedance,
    in_time: u64,
    good: u64,
    copies: u32,
    rng: fastrand::Rng,
    now: Tick,
    end: Tick,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    requests: BTreeMap<u64, Request>,
    attempts: BTreeMap<u64, Attempt>,
    numbered: u64,
    outcomes: Vec<Outcome>,
    sent: Vec<Sent>,
    denied: BTreeMap<&'static str, u32>,
    won: u32,
}

struct Request {
    sent: Tick,
    race: Race,
    legs: [Option<u64>; 2],
    tried: Vec<usize>,
    failures: u32,
    delay: Option<Duration>,
    cost: f64,
    place: Option<Place>,
    /// When its copy was sent.
    copied: Option<Tick>,
}

struct Attempt {
    /// `None` for a probe, and once it was cancelled.
    request: Option<u64>,
    leg: Leg,
    backend: usize,
    trial: Option<Trial>,
    answer: Option<Answer>,
}

enum Event {
    Arrive,
    /// A backend is done with an attempt, whether or not anyone waits.
    Served(u64),
    /// An attempt has waited for the first byte long enough.
    TimedOut(u64),
    /// A request is late, or may have become old enough.
    Late(u64),
    /// A probe has lasted for the delay.
    Probed(u64),
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

const START: Tick = Tick::from_nanos(0);

impl Pool {
    /// A pool of backends by script and weight, all of them there since long ago.
    pub(crate) fn new(load: Load, seed: u64, scripts: Vec<(Script, f64)>) -> Pool {
        let mut pool = Pool {
            backends: Vec::new(),
            hedging: Hedging::new(load.hedge.clone().unwrap_or_default(), 0.5),
            delays: Delays::new(),
            ledger: Budget::new(budget::Params::default()),
            deferred: Deferred::new(),
            late: Exceedance::of_all(),
            in_time: 0,
            good: 0,
            copies: 0,
            rng: fastrand::Rng::with_seed(seed),
            now: START,
            end: START,
            queue: BinaryHeap::new(),
            scheduled: 0,
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            numbered: 0,
            outcomes: Vec::new(),
            sent: Vec::new(),
            denied: BTreeMap::new(),
            won: 0,
            load,
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
            if !matches!(event, Event::Arrive | Event::Publish) {
                self.step(event);
            }
        }
        assert!(
            self.backends.iter().all(|backend| backend
                .signals
                .in_flight
                .oldest(self.now + Duration::from_secs(600))
                .is_none())
        );
        assert!(self.requests.is_empty() && self.deferred.is_empty() && self.copies == 0);
        self.backends.iter().map(|backend| backend.signals.in_flight.count()).sum()
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

    /// The attempts begun from second `from` to second `to`.
    pub(crate) fn attempts(&self, from: u64, to: u64) -> impl Iterator<Item = &Sent> {
        let span = Duration::from_secs(from)..Duration::from_secs(to);
        self.sent.iter().filter(move |sent| span.contains(&sent.at))
    }

    /// The share that `backend` got of the attempts begun from second `from` to second `to`.
    pub(crate) fn share(&self, backend: usize, from: u64, to: u64) -> f64 {
        let own = self.attempts(from, to).filter(|sent| sent.backend == backend).count();
        own as f64 / self.attempts(from, to).count() as f64
    }

    /// Attempts begun for each request sent, from second `from` to second `to`.
    pub(crate) fn amplification(&self, from: u64, to: u64) -> f64 {
        self.attempts(from, to).count() as f64 / self.sent(from, to).count() as f64
    }

    /// The greatest amplification in any of the seconds from `from` to `to`, at every tenth of one.
    pub(crate) fn worst_second(&self, from: u64, to: u64) -> f64 {
        let tenths = (to * 10) as usize + 1;
        let (mut clients, mut backends) = (vec![0u32; tenths], vec![0u32; tenths]);
        let slot = |at: Duration| (at.as_millis() / 100) as usize;
        self.sent(0, to).for_each(|outcome| clients[slot(outcome.sent)] += 1);
        self.attempts(0, to).for_each(|sent| backends[slot(sent.at)] += 1);
        let second = |counts: &[u32], at: usize| f64::from(counts[at..at + 10].iter().sum::<u32>());
        (from as usize * 10..tenths - 10)
            .map(|at| second(&backends, at) / second(&clients, at).max(1.0))
            .fold(0.0, f64::max)
    }

    /// The quantile `q` of the clients' waits for requests sent from second `from` to second `to`.
    pub(crate) fn quantile(&self, q: f64, from: u64, to: u64) -> Duration {
        let mut took: Vec<Duration> = self.sent(from, to).map(|outcome| outcome.took).collect();
        took.sort_unstable();
        took[((q * took.len() as f64) as usize).min(took.len() - 1)]
    }

    /// Whether a backend is ejected now.
    pub(crate) fn is_ejected(&self, backend: usize) -> bool {
        self.backends[backend].is_ejected(self.now)
    }

    /// Copies won, and how often one was denied, by reason.
    pub(crate) fn hedges(&self) -> (u32, &BTreeMap<&'static str, u32>) {
        (self.won, &self.denied)
    }

    /// The policy's own state.
    pub(crate) fn hedging(&self) -> &Hedging {
        &self.hedging
    }

    fn add(&mut self, script: Script, weight: f64, joined: Option<Tick>) {
        let health = Health::new(self.load.ejection.clone(), self.load.probation.clone());
        let (signals, workers) = (Signals::default(), self.load.workers);
        let queue = VecDeque::new();
        self.backends.push(Backend { script, weight, joined, signals, health, workers, busy: 0, queue });
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    fn at(&mut self, when: Tick, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(when, self.scheduled, event)));
    }

    fn next_before(&mut self, end: Tick) -> Option<Reverse<Scheduled>> {
        let due = self.queue.peek().is_some_and(|Reverse(first)| first.0 < end);
        due.then(|| self.queue.pop()).flatten()
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                self.arrive();
                let gap = -(1.0 - self.rng.f64()).ln() / self.load.per_second;
                self.after(Duration::from_secs_f64(gap), Event::Arrive);
            }
            Event::Served(attempt) => self.served(attempt),
            Event::TimedOut(attempt) => self.timed_out(attempt),
            Event::Late(request) => self.late(request),
            Event::Probed(attempt) => self.cancel(attempt),
            Event::Publish => self.publish(),
        }
    }

    fn publish(&mut self) {
        let now = self.now;
        self.delays.publish([0.95; 2], now);
        self.hedging.publish(&self.delays.distribution(), now);
        for backend in &mut self.backends {
            backend.signals.window.publish(now);
            backend.health.on_tick(now);
        }
        self.after(Duration::from_secs(1), Event::Publish);
    }

    fn arrive(&mut self) {
        self.numbered += 1;
        let id = self.numbered;
        let hedges = self.load.hedge.is_some();
        let delay = self.hedging.delay().filter(|_| hedges);
        let request = Request {
            sent: self.now,
            race: Race::new(false),
            legs: [None, None],
            tried: Vec::new(),
            failures: 0,
            delay,
            cost: if self.rng.f64() < self.load.dear.0 { self.load.dear.1 } else { 1.0 },
            place: None,
            copied: None,
        };
        self.requests.insert(id, request);
        self.ledger.deposit();
        if hedges {
            self.hedging.copies.deposit();
        }
        self.begin(id, Kind::Primary);
        if let Some(delay) = delay {
            let held_out = self.rng.f64() < self.hedging.params().held_out.get();
            self.after(if held_out { self.hedging.params().max_delay } else { delay }, Event::Late(id));
            self.probe(delay);
        }
        self.wake();
    }

    /// The deposit may be what the oldest of those who were denied waits for.
    fn wake(&mut self) {
        if let Some(&oldest) = self.deferred.oldest() {
            self.late(oldest);
        }
    }

    fn probe(&mut self, delay: Duration) {
        let (now, share) = (self.now, self.load.probation.probes);
        let tried = |backend: &Backend| backend.is_on_probation(now) && backend.signals.probes.admit(share);
        if let Some(index) = self.backends.iter().position(tried) {
            let attempt = self.send(index, None, Leg::Copy, Kind::Probe, Some(delay));
            self.after(delay + Duration::from_nanos(1), Event::Probed(attempt));
        }
    }

    fn begin(&mut self, id: u64, kind: Kind) -> bool {
        let now = self.now;
        let Some(request) = self.requests.get(&id) else { return false };
        let candidates: Vec<Candidate> =
            self.backends.iter().map(|backend| backend.candidate(&self.load, now)).collect();
        let tried = request.tried.clone();
        let delay = request.delay;
        let out = |index: &usize| self.backends[*index].is_ejected(now) || tried.contains(index);
        let doubtful = |index: &usize| out(index) || self.backends[*index].is_on_probation(now);
        let all = 0..self.backends.len();
        let first: Exclude = all.clone().filter(doubtful).collect();
        let second: Exclude = all.filter(out).collect();
        let mut picked = pick(&candidates, &first, now, &mut self.rng);
        if kind == Kind::Primary {
            picked = picked.or_else(|_| pick(&candidates, &second, now, &mut self.rng));
        }
        let Ok(index) = picked else { return false };
        let leg = if kind == Kind::Primary { Leg::Primary } else { Leg::Copy };
        let attempt = self.send(index, Some(id), leg, kind, delay);
        if let Some(request) = self.requests.get_mut(&id) {
            request.tried.push(index);
            request.legs[usize::from(leg == Leg::Copy)] = Some(attempt);
        }
        true
    }

    fn send(&mut self, index: usize, request: Option<u64>, leg: Leg, kind: Kind, delay: Option<Duration>) -> u64 {
        self.numbered += 1;
        let id = self.numbered;
        let now = self.now;
        let expect = Expect { delay, usual: self.hedging.usual(), pool_usual: self.hedging.usual() };
        let backend = &mut self.backends[index];
        let trial = Some(backend.signals.begin(kind, expect, now));
        self.sent.push(Sent { at: now.since(START), backend: index, kind });
        self.copies += u32::from(kind == Kind::Copy);
        self.attempts.insert(id, Attempt { request, leg, backend: index, trial, answer: None });
        if backend.busy < backend.workers {
            self.serve(id);
        } else {
            backend.queue.push_back(id);
        }
        let timeout = self.load.timeout;
        self.after(timeout, Event::TimedOut(id));
        id
    }

    fn serve(&mut self, id: u64) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let backend = &mut self.backends[attempt.backend];
        backend.busy += 1;
        let mut answer = (backend.script)(self.now.since(START), &mut self.rng);
        let request = attempt.request.and_then(|request| self.requests.get(&request));
        if let (Answer::After(took), Some(request)) = (&mut answer, request) {
            *took = took.mul_f64(request.cost);
        }
        attempt.answer = Some(answer);
        match answer {
            Answer::After(took) | Answer::Errors(took) | Answer::Fails(took) => self.after(took, Event::Served(id)),
            // Its worker is lost until the client is.
            Answer::Never => {}
        }
    }

    /// A backend's worker is free again.
    fn freed(&mut self, index: usize) {
        let backend = &mut self.backends[index];
        backend.busy -= 1;
        while let Some(next) = self.backends[index].queue.pop_front() {
            // What was cancelled in the queue is gone.
            if self.attempts.get(&next).is_some_and(|attempt| attempt.trial.is_some()) {
                return self.serve(next);
            }
            self.attempts.remove(&next);
        }
    }

    fn served(&mut self, id: u64) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let index = attempt.backend;
        let outcome = attempt.answer.zip(attempt.trial.as_ref().map(Trial::kind));
        match outcome {
            Some((Answer::After(_), kind)) => self.answered(id, kind, false),
            Some((Answer::Errors(_), kind)) => self.answered(id, kind, true),
            Some(_) => self.failed(id),
            None => {}
        }
        self.attempts.remove(&id);
        self.freed(index);
    }

    fn timed_out(&mut self, id: u64) {
        if self.attempts.get(&id).is_some_and(|attempt| attempt.trial.is_some()) {
            self.failed(id);
        }
    }

    fn answered(&mut self, id: u64, kind: Kind, error: bool) {
        let now = self.now;
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let (index, leg, request) = (attempt.backend, attempt.leg, attempt.request);
        let Some(mut trial) = attempt.trial.take() else { return };
        let signals = &self.backends[index].signals;
        let learning = [&self.hedging.delays, &self.delays];
        let (_, late) = signals.answered(&mut trial, &learning, error, now);
        signals.end(trial, &learning, now);
        self.copies -= u32::from(kind == Kind::Copy);
        if error {
            self.ill(index, true);
        } else {
            self.good += 1;
            self.backends[index].signals.error_run.over();
            self.backends[index].health.on_success(now);
            self.judge(index, late);
        }
        let Some(request) = request else { return };
        self.happened(request, if error { Happened::Errored(leg) } else { Happened::Answered(leg) }, index);
    }

    fn failed(&mut self, id: u64) {
        let now = self.now;
        let usual = self.usual();
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let (index, leg, request) = (attempt.backend, attempt.leg, attempt.request);
        let Some(mut trial) = attempt.trial.take() else { return };
        self.copies -= u32::from(trial.kind() == Kind::Copy);
        let signals = &self.backends[index].signals;
        signals.failed(&mut trial, usual, now);
        signals.end(trial, &[], now);
        self.ill(index, false);
        self.release_hung(id);
        if let Some(request) = request {
            self.happened(request, Happened::Failed(leg), index);
        }
    }

    /// An error or a failure of a backend.
    fn ill(&mut self, index: usize, answered: bool) {
        let now = self.now;
        let usual = self.usual();
        let others = self.backends.iter().enumerate().filter(|&(other, b)| other != index && !b.is_ejected(now));
        let failing = exceedance::mean(others.clone().map(|(_, b)| b.signals.failing.share(now)));
        let failing = if answered { failing } else { 0.0 };
        let mut may = MayEject::others(others.count(), failing);
        let backend = &mut self.backends[index];
        if may != MayEject::PeersFail && backend.signals.failing.share(now) > 0.3 {
            backend.signals.penalise(Duration::ZERO, usual, now);
        }
        if answered {
            let run = &backend.signals.error_run;
            run.bad(self.good);
            if may == MayEject::Yes && !run.is_enough(self.good) {
                may = MayEject::PeersFail;
            }
        }
        backend.health.on_failure(now, may);
    }

    fn judge(&mut self, index: usize, late: Option<bool>) {
        let (Some(late), true) = (late, self.load.hedge.is_some()) else { return };
        let now = self.now;
        self.late.observe(late, now);
        let in_time = self.in_time;
        self.in_time += u64::from(!late);
        let run = &self.backends[index].signals.late_run;
        match late {
            true => run.bad(in_time),
            false if !self.backends[index].health.is_suspected() => run.over(),
            false => {}
        }
        let is_heard = run.is_enough(in_time);
        let others = self
            .backends
            .iter()
            .enumerate()
            .filter(|&(other, b)| other != index && !b.is_ejected(now) && !b.is_on_probation(now));
        let peers = exceedance::mean(others.map(|(_, b)| b.signals.late.share(now)));
        let out = self.backends.iter().filter(|b| b.is_ejected(now) || b.is_on_probation(now)).count();
        let room = match is_heard {
            true => Room::of(self.backends.len(), out, self.load.probation.share),
            false => Room::None,
        };
        let backend = &mut self.backends[index];
        if backend.health.on_time(late, peers, room, now).is_some_and(|change| change.from == State::Probation) {
            backend.signals.ewma.reset();
        }
    }

    /// Nobody waits for the attempt any longer; its backend may go on.
    fn cancel(&mut self, id: u64) {
        let now = self.now;
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let index = attempt.backend;
        attempt.request = None;
        let Some(trial) = attempt.trial.take() else { return };
        self.copies -= u32::from(trial.kind() == Kind::Copy);
        let late = self.backends[index].signals.end(trial, &[&self.hedging.delays, &self.delays], now);
        self.judge(index, late);
        self.release_hung(id);
    }

    fn release_hung(&mut self, id: u64) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        if let Some(Answer::Never) = attempt.answer {
            let index = attempt.backend;
            self.attempts.remove(&id);
            self.freed(index);
        }
    }

    fn late(&mut self, id: u64) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(attempt) = request.legs[0].and_then(|leg| self.attempts.get_mut(&leg)) else { return };
        let index = attempt.backend;
        let late = attempt.trial.as_mut().and_then(|trial| self.backends[index].signals.late(trial, now));
        self.judge(index, late);
        let Some(request) = self.requests.get_mut(&id) else { return };
        if request.race.on(Happened::Late) != Action::Copy {
            return;
        }
        let (age, sent) = (now.since(request.sent), request.sent);
        let Some(delay) = request.delay else { return };
        match self.try_copy(id, age, delay) {
            Ok(()) => {
                let Some(request) = self.requests.get_mut(&id) else { return };
                request.race.on(Happened::Copied);
                request.copied = Some(now);
                if let Some(place) = request.place.take() {
                    self.deferred.leave(place);
                }
            }
            Err(reason) => {
                let Some(request) = self.requests.get_mut(&id) else { return };
                request.race.on(Happened::Denied(reason));
                *self.denied.entry(reason.as_str()).or_default() += 1;
                if request.place.is_none() {
                    request.place = Some(self.deferred.enter(sent, id));
                }
                let ripe = sent + self.hedging.copies.ripe_at(delay);
                if ripe > now {
                    self.at(ripe, Event::Late(id));
                }
            }
        }
    }

    fn try_copy(&mut self, id: u64, age: Duration, delay: Duration) -> Result<(), NoHedge> {
        let now = self.now;
        let asked = Asked {
            age,
            delay,
            waiting: 1,
            in_flight: self.backends.iter().map(|b| b.signals.in_flight.count()).sum(),
            copies: self.copies,
            queueing: false,
            all_slow: self.late.is_all_slow(now),
        };
        self.hedging.admit(&asked, &self.ledger, now)?;
        if self.begin(id, Kind::Copy) {
            return Ok(());
        }
        self.hedging.copies.restore(1);
        Err(NoHedge::NoBackend)
    }

    fn happened(&mut self, id: u64, event: Happened, backend: usize) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        match request.race.on(event) {
            Action::Await | Action::Copy => {}
            Action::Commit(winner) => {
                let answered = !matches!(event, Happened::Errored(_) | Happened::Failed(_));
                let backend = request.tried[if winner == Leg::Copy { request.tried.len() - 1 } else { 0 }];
                self.done(id, backend, answered);
            }
            Action::Lose(_) => {
                request.failures += 1;
                let may = self.load.hedge.is_some() && request.failures <= RETRIES;
                if may && self.ledger.withdraw(self.now).is_ok() {
                    request.race = Race::new(false);
                    request.legs = [None, None];
                    if self.begin(id, Kind::Primary) {
                        return;
                    }
                }
                self.done(id, backend, false);
            }
        }
    }

    fn done(&mut self, id: u64, backend: usize, answered: bool) {
        let Some(request) = self.requests.remove(&id) else { return };
        if let Some(place) = request.place {
            self.deferred.leave(place);
        }
        if let Some(copied) = request.copied {
            let won = request.race.hedge() == Hedge::Won;
            self.hedging.copies.settle(won, self.now.since(copied), self.hedging.usual());
            self.won += u32::from(won);
        }
        request.legs.into_iter().flatten().for_each(|leg| self.cancel(leg));
        let (sent, took) = (request.sent.since(START), self.now.since(request.sent));
        self.hedging.served.record(took);
        self.outcomes.push(Outcome { sent, backend, took, answered });
    }

    /// The 99th percentile of the best backend's answers.
    fn usual(&self) -> Option<Duration> {
        let seen = self.backends.iter().map(|backend| backend.signals.window.quantiles()).filter(|q| q.count > 0);
        seen.map(|q| q.p99).min()
    }
}
