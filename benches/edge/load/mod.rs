//! The load: one thread that asks on many connections, and looks at every response.
//!
//! It costs about what wrk costs. Closed loops ask again as soon as a response is complete; open ones when it is time, and count
//! from then (no coordinated omission).

pub(crate) mod expected;
pub(crate) mod pace;
pub(crate) mod requests;
pub(crate) mod secure;

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use hedgerow::clock;
use hedgerow::units::Tick;
use histogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use self::expected::Expected;
use self::pace::{Due, Pace};
use self::requests::Requests;

/// How long nothing may come while something is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Read at once.
const BUFFER: usize = 128 * 1024;
/// Below it the load does not sleep: the kernel's timers may be so late.
const SPIN: Duration = Duration::from_millis(2);

/// What a run came to.
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// Until the last response.
    pub(crate) lasted: Duration,
    /// Nanoseconds.
    pub(crate) latencies: Histogram,
}

impl Tally {
    /// A quantile of the latencies, in microseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let bucket = self.latencies.quantile_bucket(quantile).ok().flatten();
        bucket.map_or(f64::NAN, |bucket| (bucket.start() + bucket.end()) as f64 / 2e3)
    }
}

/// Open connections to one server.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    expected: Expected,
}

struct Connection {
    stream: TcpStream,
    /// Since when the request at hand counts.
    since: Tick,
    state: State,
}

/// What has come of a response.
enum State {
    Free,
    /// A part of its head.
    Head(Vec<u8>),
    /// All but so many bytes.
    Body(usize),
}

impl Load {
    pub(crate) fn new(expected: Expected) -> io::Result<Load> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1024));
        Ok(Load { poll, events, connections: Vec::new(), buffer: vec![0; BUFFER], expected })
    }

    /// Opens more connections.
    pub(crate) fn connect(&mut self, address: SocketAddr, number: usize) -> io::Result<()> {
        for _ in 0..number {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let token = Token(self.connections.len());
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            self.connections.push(Connection { stream, since: Tick::default(), state: State::Free });
        }
        Ok(())
    }

    /// From now on something else has to come back.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected = expected;
    }

    /// Asks until the pace ends and all have been answered. An error is whatever was not as expected.
    pub(crate) fn run(&mut self, requests: &mut Requests, mut pace: Pace) -> Result<Tally, Box<dyn Error>> {
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let begin = clock::now();
        let mut last = begin;
        // Up to 2^36 ns, which is a minute, with an error below 1 %.
        let mut tally = Tally { requests: 0, lasted: Duration::ZERO, latencies: Histogram::new(7, 36)? };
        loop {
            let now = clock::now();
            let wait = loop {
                let Some(place) = free.front() else { break PATIENCE };
                match pace.due(now) {
                    Due::Since(since) => {
                        self.connections[*place].ask(requests.next(), since)?;
                        free.pop_front();
                    }
                    Due::In(wait) if wait < SPIN => break Duration::ZERO,
                    Due::In(wait) => break wait - SPIN,
                    Due::Never if free.len() == self.connections.len() => {
                        tally.lasted = last.since(begin);
                        return Ok(tally);
                    }
                    Due::Never => break PATIENCE,
                }
            };
            match self.poll.poll(&mut self.events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if self.events.is_empty() && free.len() < self.connections.len() && now.since(last) > PATIENCE {
                return Err("no answer for 5 s".into());
            }
            for event in &self.events {
                let Token(place) = event.token();
                let connection = &mut self.connections[place];
                if !connection.hear(&mut self.buffer, &self.expected)? {
                    continue;
                }
                last = clock::now();
                tally.requests += 1;
                tally.latencies.increment(u64::try_from(last.since(connection.since).as_nanos())?)?;
                // Those that wait for a request longer come first.
                match if free.is_empty() { pace.due(last) } else { Due::Never } {
                    Due::Since(since) => connection.ask(requests.next(), since)?,
                    Due::In(_) | Due::Never => free.push_back(place),
                }
            }
        }
    }
}

impl Connection {
    fn ask(&mut self, request: &[u8], since: Tick) -> Result<(), Box<dyn Error>> {
        self.since = since;
        self.state = State::Head(Vec::new());
        match self.stream.write(request)? {
            written if written == request.len() => Ok(()),
            written => Err(format!("of {} bytes only {written} could be sent", request.len()).into()),
        }
    }

    /// Reads what is there; whether the response is complete now.
    ///
    /// Events tell of what is new: a read that did not fill the buffer has taken all there was.
    fn hear(&mut self, buffer: &mut [u8], expected: &Expected) -> Result<bool, Box<dyn Error>> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err("a connection was closed".into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            if self.take(&buffer[..read], expected)? {
                return Ok(true);
            }
            if read < buffer.len() {
                return Ok(false);
            }
        }
    }

    /// Takes what has come; whether the response is complete now.
    fn take(&mut self, read: &[u8], expected: &Expected) -> Result<bool, String> {
        let left = match &mut self.state {
            State::Free => return Err("more than was asked for".to_owned()),
            State::Body(left) => left.checked_sub(read.len()),
            State::Head(before) => {
                let first = before.is_empty();
                if !first {
                    before.extend_from_slice(read);
                }
                let whole = if first { read } else { before.as_slice() };
                let Some(head) = expected.check(whole)? else {
                    if first {
                        before.extend_from_slice(read);
                    }
                    return Ok(false);
                };
                (expected.body + head).checked_sub(whole.len())
            }
        };
        match left {
            Some(0) => self.state = State::Free,
            Some(left) => self.state = State::Body(left),
            None => return Err("more bytes than a response has".to_owned()),
        }
        Ok(left == Some(0))
    }
}
