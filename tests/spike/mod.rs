//! A pool under a spike in virtual time: backends with workers and queues of their own, requests of three classes at
//! random moments, and the shipped limit, queue and choice of backend between them. One seed is one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use hedgerow::balance::exclude::Exclude;
use hedgerow::balance::least_loaded::{Candidate, pick};
use hedgerow::tail::class::Class;
use hedgerow::tail::ewma::PeakEwma;
use hedgerow::tail::limit::{self, Limiter, REVIEW};
use hedgerow::tail::queue::{Asked, Pace, Queue, Shed};
use hedgerow::units::Tick;

/// An answer is good within this time.
pub(crate) const GOOD: Duration = Duration::from_millis(250);

/// Users, each with a level of its own.
const USERS: u64 = 2_000;

/// What is run.
#[derive(Clone)]
pub(crate) struct Run {
    /// How many backends.
    pub(crate) backends: usize,
    /// Requests that each works on at a time.
    pub(crate) workers: usize,
    /// The median time of an answer that need not wait, lognormal with a 99th percentile two and a half times above.
    pub(crate) median: Duration,
    /// Requests per second outside of the spike, and in it.
    pub(crate) rate: [f64; 2],
    /// How long before, in and after the spike.
    pub(crate) phases: [Duration; 3],
    /// Answers take so many times as long in the spike.
    pub(crate) slower: f64,
    /// All backends stop for so long every five seconds.
    pub(crate) pause: Duration,
}

/// One request's end.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) sent: Duration,
    pub(crate) class: Class,
    pub(crate) user: u64,
    /// How long it took, or why there was no answer.
    pub(crate) took: Result<Duration, Shed>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    sent: Tick,
    class: Class,
    user: u64,
}

struct Backend {
    busy: usize,
    queue: VecDeque<u64>,
    working: u32,
    ewma: PeakEwma,
    limiter: Limiter,
}

struct Attempt {
    backend: usize,
    request: Request,
    begun: Tick,
    nth: u32,
}

enum Event {
    Arrive,
    Served(u64),
    Review,
}

/// The pool while it runs.
struct Pool<'a> {
    run: &'a Run,
    rng: fastrand::Rng,
    now: Tick,
    events: BinaryHeap<Reverse<(Tick, u64)>>,
    pending: BTreeMap<u64, Event>,
    number: u64,
    backends: Vec<Backend>,
    attempts: BTreeMap<u64, Attempt>,
    queue: Queue<Request>,
    pace: Pace,
    admitted: u32,
    ended: Vec<Ended>,
}

impl Run {
    /// Five backends of four workers that take 20 ms in the median: about 925 requests per second.
    pub(crate) fn spike(times: f64) -> Run {
        Run {
            backends: 5,
            workers: 4,
            median: Duration::from_millis(20),
            rate: [555.0, 925.0 * times],
            phases: [10, 10, 6].map(Duration::from_secs),
            slower: 1.0,
            pause: Duration::ZERO,
        }
    }

    /// Runs it; what became of the requests.
    pub(crate) fn ended(&self, seed: u64) -> Vec<Ended> {
        let backend = || Backend {
            busy: 0,
            queue: VecDeque::new(),
            working: 0,
            ewma: PeakEwma::new(),
            limiter: Limiter::default(),
        };
        let mut pool = Pool {
            run: self,
            rng: fastrand::Rng::with_seed(seed),
            now: Tick::default(),
            events: BinaryHeap::new(),
            pending: BTreeMap::new(),
            number: 0,
            backends: (0..self.backends).map(|_| backend()).collect(),
            attempts: BTreeMap::new(),
            queue: Queue::default(),
            pace: Pace { usual: Duration::ZERO, limit: u32::MAX },
            admitted: 0,
            ended: Vec::new(),
        };
        pool.at(Tick::default(), Event::Arrive);
        pool.at(Tick::default(), Event::Review);
        let end = Tick::default() + self.phases.iter().sum();
        while let Some(Reverse((when, id))) = pool.events.pop() {
            pool.now = when;
            let Some(event) = pool.pending.remove(&id) else { continue };
            pool.step(event, end);
        }
        assert_eq!((pool.admitted, pool.queue.len()), (0, 0), "what came has ended");
        pool.ended
    }
}

impl Pool<'_> {
    fn at(&mut self, when: Tick, event: Event) {
        self.number += 1;
        self.events.push(Reverse((when, self.number)));
        self.pending.insert(self.number, event);
    }

    fn in_spike(&self) -> bool {
        let since = self.now.since(Tick::default());
        (self.run.phases[0]..self.run.phases[0] + self.run.phases[1]).contains(&since)
    }

    fn step(&mut self, event: Event, end: Tick) {
        match event {
            Event::Arrive if self.now < end => {
                let gap = -(1.0 - self.rng.f64()).ln() / self.run.rate[usize::from(self.in_spike())];
                self.at(self.now + Duration::from_secs_f64(gap), Event::Arrive);
                self.arrive();
            }
            Event::Arrive => {}
            Event::Served(attempt) => self.served(attempt),
            Event::Review => {
                self.review();
                self.let_in();
                if self.now < end || self.admitted > 0 || !self.queue.is_empty() {
                    self.at(self.now + REVIEW, Event::Review);
                }
            }
        }
    }

    fn arrive(&mut self) {
        let class = match self.rng.f64() {
            critical if critical < 0.2 => Class::Critical,
            default if default < 0.7 => Class::Default,
            _ => Class::Sheddable,
        };
        let request = Request { sent: self.now, class, user: self.rng.u64(0..USERS) };
        if self.queue.is_empty() && self.admitted < self.pace.limit {
            self.admitted += 1;
            return self.send(request);
        }
        let asked = Asked { class, level: (request.user % 251) as u8, patience: None };
        let (pace, now) = (self.pace, self.now);
        let ended = &mut self.ended;
        let entered = self.queue.enter(asked, request, &pace, now, |gone, why| ended.push(over(&gone, Err(why))));
        assert!(entered.is_ok(), "nobody here is in a hurry");
        self.let_in();
    }

    fn let_in(&mut self) {
        let (pace, now) = (self.pace, self.now);
        while self.admitted < pace.limit {
            let ended = &mut self.ended;
            let next = self.queue.next(&pace, now, |gone, why| ended.push(over(&gone, Err(why))));
            let Some(request) = next else { return };
            self.admitted += 1;
            self.send(request);
        }
        let ended = &mut self.ended;
        self.queue.refresh(&pace, now, &mut |gone, why| ended.push(over(&gone, Err(why))));
    }

    fn send(&mut self, request: Request) {
        let now = self.now;
        let candidates: Vec<Candidate> = self
            .backends
            .iter()
            .map(|backend| Candidate {
                in_flight: backend.working,
                cost: backend.ewma.cost(now),
                oldest: None,
                weight: 1.0,
            })
            .collect();
        let full = |index: &usize| self.backends[*index].working >= self.backends[*index].limiter.room();
        let crowded: Exclude = (0..self.backends.len()).filter(full).collect();
        let index = pick(&candidates, &crowded, now, &mut self.rng)
            .or_else(|_| pick(&candidates, &Exclude::none(), now, &mut self.rng))
            .unwrap();
        let backend = &mut self.backends[index];
        backend.working += 1;
        backend.limiter.sent(backend.working);
        let nth = backend.working;
        self.number += 1;
        let id = self.number;
        self.attempts.insert(id, Attempt { backend: index, request, begun: now, nth });
        if self.backends[index].busy < self.run.workers {
            self.serve(id, index);
        } else {
            self.backends[index].queue.push_back(id);
        }
    }

    fn serve(&mut self, attempt: u64, index: usize) {
        self.backends[index].busy += 1;
        let normal = (-2.0 * (1.0 - self.rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * self.rng.f64()).cos();
        let slower = if self.in_spike() { self.run.slower } else { 1.0 };
        let mut end = self.now + self.run.median.mul_f64((0.394 * normal).exp() * slower);
        let into = Duration::from_nanos(end.as_nanos() % 5_000_000_000);
        if into < self.run.pause {
            end = end + (self.run.pause - into);
        }
        self.at(end, Event::Served(attempt));
    }

    fn served(&mut self, id: u64) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let took = self.now.since(attempt.begun);
        let backend = &mut self.backends[attempt.backend];
        backend.working -= 1;
        backend.busy -= 1;
        backend.ewma.observe(took, self.now);
        backend.limiter.answered(attempt.nth, took);
        self.ended.push(over(&attempt.request, Ok(self.now.since(attempt.request.sent))));
        if let Some(next) = self.backends[attempt.backend].queue.pop_front() {
            self.serve(next, attempt.backend);
        }
        self.admitted -= 1;
        self.let_in();
    }

    fn review(&mut self) {
        let now = self.now;
        let mut knees: Vec<f32> = self.backends.iter().filter_map(|backend| backend.limiter.knee()).collect();
        knees.sort_unstable_by(f32::total_cmp);
        let peers = knees.get(knees.len() / 2).copied();
        self.backends.iter_mut().for_each(|backend| backend.limiter.review(backend.working, peers, now));
        if !self.queue.is_empty() {
            let lacking = self.backends.iter_mut().filter_map(|backend| {
                let lack = backend.limiter.lacks_contrast(now)?;
                Some((backend, lack))
            });
            limit::to_dip(lacking).into_iter().for_each(|backend| backend.limiter.dip(now));
        }
        let sum = self.backends.iter().map(|backend| backend.limiter.limit()).sum();
        let usual: Duration = self.backends.iter().filter_map(|backend| backend.limiter.usual()).sum();
        self.pace = Pace { usual: usual / self.backends.len() as u32, limit: limit::of_pool(sum) };
    }
}

fn over(request: &Request, took: Result<Duration, Shed>) -> Ended {
    Ended { sent: request.sent.since(Tick::default()), class: request.class, user: request.user, took }
}
