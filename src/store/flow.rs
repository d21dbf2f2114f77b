//! The bytes of a fill between its writer and its readers: what is held, who has read how far, who waits for whom.
//!
//! While the fill retains, all is held and nobody waits. While it passes, a chunk is dropped once all have read it, and
//! the writer waits for the reader that is too far behind. Two kinds of readers need care.
//!
//! * *The writer's own reader*, through which the client that caused the fill gets its bytes, runs in the same task as
//!   the writer: waiting for it would never end. Nor is waiting needed. pingora writes what that reader gives to the
//!   client before it takes more from upstream, so the client's pace already holds the writer back, provided that one
//!   turn of the reader takes more than arrives between two turns ([`TURN`]), and that the writer does not wait for
//!   others either while it is due. That client may also be gone, or have asked for the head only; then pingora keeps
//!   its reader without ever reading. It is given up after [`MISSED`] chunks for which it was due.
//! * *Other readers* may stall. Those the writer waits for in vain are cut off.
//!
//! This counts on pingora writing to the client within the turn, as it does unless `set_proxy_tasks_enabled` was called
//! on the session. With that, a client slower than the origin would lose a response too large to store.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::entry::{Body, SEGMENT, Segment};
use super::room::Claim;
use super::{Broken, NotStored};

/// How far a passing fill may run ahead of its readers: enough for a path of 100 Mbit/s and 80 ms to stay full.
const WINDOW: u64 = 1 << 20;
/// Chunks the writer's own reader takes at once from a passing fill. Between two of its turns pingora takes at most ten
/// from upstream: a channel of four and one on either side of it, refilled once if the writer had to wait in between.
const TURN: usize = 16;
/// Chunks written while the own reader is due after which it is given up; see [`TURN`] for why a live one never misses
/// as many.
const MISSED: u32 = 64;

/// What is held of a body, and its readers.
#[derive(Debug)]
pub(super) struct Flow {
    phase: Phase,
    /// Longest body that is retained, in bytes.
    limit: u64,
    /// What is held of the body, without gaps, up to `length`.
    chunks: VecDeque<Segment>,
    /// How many at the end of `chunks` are to be put together into one segment.
    loose: usize,
    /// Bytes written so far.
    length: u64,
    /// Accounts for the bytes held.
    claim: Claim,
    /// How far a reader may be behind while passing, in bytes: at first as far as it was when that began.
    ceiling: u64,
    /// Chunks written while the own reader was due.
    missed: u32,
    seats: BTreeMap<u64, Seat>,
    /// The next seat's number.
    next: u64,
    /// Readers cut off.
    cut: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Retaining,
    Passing(NotStored),
    Whole,
    Aborted,
}

/// A reader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat {
    who: Who,
    /// Bytes read.
    at: u64,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// For the client that caused the fill, in the writer's task.
    Own,
    /// Anyone else.
    Other,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(Bytes),
    /// Nothing yet.
    Pending,
    End,
    Broken(Broken),
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Go,
    /// Nobody reads.
    Stop,
    Wait(Laggards),
}

/// Readers that are too far behind, and where they were.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Laggards(Vec<(u64, Seat)>);

impl Flow {
    /// Nothing yet. Retains up to `limit` bytes, accounted for by `claim`.
    pub(super) fn new(limit: u64, claim: Claim) -> Flow {
        Flow {
            phase: Phase::Retaining,
            limit,
            chunks: VecDeque::new(),
            loose: 0,
            length: 0,
            claim,
            ceiling: WINDOW,
            missed: 0,
            seats: BTreeMap::new(),
            next: 0,
            cut: 0,
        }
    }

    /// Bytes written so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether it has ended, well or not.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Whole | Phase::Aborted)
    }

    /// Whether all of it is held.
    pub(super) fn is_retaining(&self) -> bool {
        self.phase == Phase::Retaining
    }

    /// A seat at the first byte, if that can still be had.
    pub(super) fn sit(&mut self, who: Who) -> Option<u64> {
        let open = match (self.phase, who) {
            (Phase::Retaining, _) => true,
            (Phase::Passing(_), Who::Own) => self.length == 0,
            _ => false,
        };
        open.then(|| {
            let number = self.next;
            self.next += 1;
            self.seats.insert(number, Seat { who, at: 0 });
            number
        })
    }

    /// Gives a seat up.
    pub(super) fn leave(&mut self, seat: u64) {
        self.seats.remove(&seat);
        self.trim();
    }

    /// Appends `data`.
    pub(super) fn push(&mut self, data: Bytes) {
        let more = data.len() as u64;
        if self.phase == Phase::Retaining && self.length.saturating_add(more) > self.limit {
            self.pass(NotStored::TooLarge);
        }
        let within = self.claim.grow(more);
        if self.phase == Phase::Retaining && !within {
            self.pass(NotStored::NoRoom);
        }
        let segment = Segment { start: self.length, bytes: data };
        self.length += more;
        if self.phase == Phase::Retaining {
            if segment.bytes.len() < SEGMENT {
                self.loose += 1;
                self.chunks.push_back(segment);
                if self.loose_length() >= SEGMENT as u64 {
                    self.join();
                }
            } else {
                self.join();
                self.chunks.push_back(segment);
            }
        } else {
            self.chunks.push_back(segment);
            self.trim();
        }
        if self.due().is_some() {
            self.missed = self.missed.saturating_add(1);
        }
    }

    /// Stops retaining, if it still did.
    pub(super) fn pass(&mut self, reason: NotStored) {
        if self.phase == Phase::Retaining {
            self.phase = Phase::Passing(reason);
            self.loose = 0;
            self.trim();
            self.ceiling = self.held().max(WINDOW);
        }
    }

    /// What is next for `seat`; and whether the writer may have less to wait for.
    pub(super) fn read(&mut self, seat: u64) -> (Read, bool) {
        let passing = matches!(self.phase, Phase::Passing(_));
        let Some(Seat { who, at }) = self.seats.get_mut(&seat) else {
            return (Read::Broken(Broken::FellBehind), false);
        };
        if *who == Who::Own {
            self.missed = 0;
        }
        let first = self.chunks.partition_point(|segment| segment.end() <= *at);
        let mut turn = self.chunks.range(first..).take(if passing && *who == Who::Own { TURN } else { 1 });
        let bytes = match (turn.len(), turn.next()) {
            (1, Some(one)) => one.piece(*at, u64::MAX),
            (_, Some(one)) => {
                let mut bytes = BytesMut::from(one.piece(*at, u64::MAX));
                turn.for_each(|segment| bytes.extend_from_slice(&segment.bytes));
                bytes.freeze()
            }
            (_, None) => {
                let read = match self.phase {
                    Phase::Retaining | Phase::Passing(_) => Read::Pending,
                    Phase::Whole => Read::End,
                    Phase::Aborted => Read::Broken(Broken::Aborted),
                };
                return (read, false);
            }
        };
        *at += bytes.len() as u64;
        self.trim();
        (Read::Bytes(bytes), passing)
    }

    /// Whether the writer may go on.
    pub(super) fn pace(&mut self) -> Pace {
        if !matches!(self.phase, Phase::Passing(_)) {
            return Pace::Go;
        }
        if let Some(own) = self.due() {
            if self.missed < MISSED {
                // Its turn comes when the writer returns.
                return Pace::Go;
            }
            self.leave(own);
        }
        if self.seats.is_empty() {
            return Pace::Stop;
        }
        let too_far = |seat: &Seat| seat.who == Who::Other && self.length - seat.at > self.ceiling;
        let laggards: Vec<_> = self.seats.iter().filter(|(_, seat)| too_far(seat)).map(|(n, s)| (*n, *s)).collect();
        if laggards.is_empty() { Pace::Go } else { Pace::Wait(Laggards(laggards)) }
    }

    /// Cuts off those of `laggards` that are where they were.
    pub(super) fn cut_unmoved(&mut self, laggards: &Laggards) {
        for (number, seat) in &laggards.0 {
            if self.seats.get(number) == Some(seat) {
                self.leave(*number);
                self.cut += 1;
            }
        }
    }

    /// The whole body, or why it is not stored.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn body(&mut self) -> Result<Body, NotStored> {
        match self.phase {
            Phase::Retaining => {
                self.join();
                Ok(Body::new(self.chunks.iter().cloned().collect()))
            }
            Phase::Passing(reason) => Err(reason),
            Phase::Whole | Phase::Aborted => Err(NotStored::Aborted),
        }
    }

    /// The end, clean if `whole`. The number of readers that were cut off before.
    pub(super) fn end(&mut self, whole: bool) -> u64 {
        if whole && self.phase == Phase::Retaining {
            // What it holds is the entry's now and accounted for there.
            self.claim.shrink_to(0);
        }
        self.phase = if whole { Phase::Whole } else { Phase::Aborted };
        self.cut
    }

    /// The own reader, if it is behind.
    fn due(&self) -> Option<u64> {
        let mut own = self.seats.iter().filter(|(_, seat)| seat.who == Who::Own && self.length - seat.at > WINDOW);
        own.next().map(|(number, _)| *number)
    }

    /// Bytes held.
    fn held(&self) -> u64 {
        self.chunks.front().map_or(0, |first| self.length - first.start)
    }

    /// Drops what every reader has read, while passing.
    fn trim(&mut self) {
        if !matches!(self.phase, Phase::Passing(_)) {
            return;
        }
        let read_by_all = self.seats.values().map(|seat| seat.at).min().unwrap_or(self.length);
        while self.chunks.front().is_some_and(|first| first.end() <= read_by_all) {
            self.chunks.pop_front();
        }
        let held = self.held();
        self.claim.shrink_to(held);
    }

    fn loose_length(&self) -> u64 {
        let first = self.chunks.len() - self.loose;
        self.chunks.get(first).map_or(0, |segment| self.length - segment.start)
    }

    /// Puts the loose chunks together: small ones would cost more than they hold, and a chunk may be a slice that
    /// keeps a much larger read buffer alive.
    fn join(&mut self) {
        let first = self.chunks.len() - self.loose;
        if let Some(start) = self.chunks.get(first).map(|segment| segment.start) {
            let mut bytes = BytesMut::with_capacity(self.chunks.range(first..).map(|s| s.bytes.len()).sum());
            for segment in self.chunks.drain(first..) {
                bytes.extend_from_slice(&segment.bytes);
            }
            self.chunks.push_back(Segment { start, bytes: bytes.freeze() });
        }
        self.loose = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::room::Room;

    const CHUNK: usize = 16 * 1024;

    /// A flow that passes after four chunks, with its own reader and another.
    fn passing() -> (Flow, u64, u64) {
        let room = Arc::new(Room::default());
        room.resize(u64::MAX);
        let mut flow = Flow::new(4 * CHUNK as u64, Claim::new(room));
        let (own, other) = (flow.sit(Who::Own).unwrap(), flow.sit(Who::Other).unwrap());
        for _ in 0..5 {
            flow.push(Bytes::from(vec![0; CHUNK]));
        }
        assert_eq!(flow.sit(Who::Other), None);
        (flow, own, other)
    }

    fn push_window(flow: &mut Flow) {
        for _ in 0..WINDOW as usize / CHUNK {
            flow.push(Bytes::from(vec![0; CHUNK]));
        }
    }

    #[test]
    fn the_writer_waits_for_another_reader_but_not_while_its_own_is_due() {
        let (mut flow, own, other) = passing();
        push_window(&mut flow);
        assert_eq!(flow.pace(), Pace::Go, "the own reader is due");
        while flow.due().is_some() {
            flow.read(own);
        }
        let Pace::Wait(laggards) = flow.pace() else { panic!("the other is too far behind") };
        assert_eq!(laggards.0.len(), 1);
        for _ in 0..5 {
            flow.read(other);
        }
        assert_eq!(flow.pace(), Pace::Go);
    }

    #[test]
    fn waiting_for_others_does_not_count_against_the_own_reader() {
        let (mut flow, own, _) = passing();
        while matches!(flow.read(own), (Read::Bytes(_), _)) {}
        // Many small chunks, none of which puts it behind.
        for _ in 0..10 * MISSED {
            flow.push(Bytes::from("x"));
            flow.pace();
        }
        assert!(matches!(flow.read(own), (Read::Bytes(_), _)));
    }

    #[test]
    fn an_own_reader_in_the_middle_of_a_joined_segment_is_not_waited_for() {
        let room = Arc::new(Room::default());
        room.resize(2 * SEGMENT as u64);
        let mut flow = Flow::new(u64::MAX, Claim::new(room));
        let own = flow.sit(Who::Own).unwrap();
        flow.push(Bytes::from("x"));
        flow.read(own);
        // Joins the byte that was read and what was not into one segment; the second has no room.
        flow.push(Bytes::from(vec![0; 2 * SEGMENT - 1]));
        flow.push(Bytes::from(vec![0; WINDOW as usize - 2 * SEGMENT + 1]));
        assert_eq!(flow.length - 1, WINDOW);
        assert_eq!(flow.pace(), Pace::Go);
    }

    #[test]
    fn only_a_reader_that_has_not_moved_is_cut_off() {
        let (mut flow, own, moving) = passing();
        push_window(&mut flow);
        while flow.due().is_some() {
            flow.read(own);
        }
        let Pace::Wait(laggards) = flow.pace() else { panic!("too far behind") };
        flow.read(moving);
        flow.cut_unmoved(&laggards);
        assert_eq!(flow.cut, 0);
        let Pace::Wait(laggards) = flow.pace() else { panic!("still too far behind") };
        flow.cut_unmoved(&laggards);
        assert_eq!(flow.read(moving), (Read::Broken(Broken::FellBehind), false));
        assert_eq!(flow.end(true), 1);
    }
}
