//! Lines on their way out: a bounded queue and the thread that empties it.
//!
//! The queue is one buffer of bytes. A request copies its line to the end under a lock that is never held over a
//! system call; the thread swaps the buffer for an empty one and writes it in one piece, so the busier the edge the
//! larger the writes. A channel of lines would allocate for each. A line that finds the queue full is lost and
//! counted: an output that is slower than the edge must not slow the edge.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

use super::sink::Sink;

/// Bytes that may wait: about 10,000 lines, half a second of a very busy edge.
const QUEUE_BYTES: usize = 4 << 20;

/// How long the thread stays awake after a write. Lines that come meanwhile need not wake it, which would cost
/// every request of a busy edge a system call.
const LINGER: Duration = Duration::from_millis(5);

/// What requests and the thread share.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something for the thread to do.
    work: Condvar,
    /// Everything asked for so far is done.
    done: Condvar,
    bound: usize,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Lines in `bytes`.
    lines: u64,
    /// Lines the thread has taken and not yet written.
    taken: u64,
    /// The thread is at work on what it took.
    busy: bool,
    /// The thread waits to be woken.
    asleep: bool,
    reopen: bool,
    closing: bool,
    /// The thread has ended.
    ended: bool,
}

impl State {
    fn has_work(&self) -> bool {
        self.lines > 0 || self.reopen
    }

    fn is_done(&self) -> bool {
        self.ended || !(self.busy || self.has_work())
    }
}

impl Queue {
    /// A queue whose thread writes to `sink`. Lines lost are added to `dropped`.
    pub(super) fn start(sink: impl Sink + 'static, dropped: Counter) -> io::Result<Arc<Queue>> {
        Queue::bounded(QUEUE_BYTES, sink, dropped)
    }

    fn bounded(bound: usize, mut sink: impl Sink + 'static, dropped: Counter) -> io::Result<Arc<Queue>> {
        let queue =
            Arc::new(Queue { state: Mutex::default(), work: Condvar::new(), done: Condvar::new(), bound, dropped });
        let shared = queue.clone();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || shared.run(&mut sink))?;
        Ok(queue)
    }

    /// Queues one whole line, or counts it as lost.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.closing || state.bytes.len() + line.len() > self.bound {
            drop(state);
            self.dropped.inc();
            return;
        }
        state.bytes.extend_from_slice(line);
        state.lines += 1;
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Has the thread open its output again, after the lines queued before.
    pub(super) fn reopen(&self) {
        self.state.lock().reopen = true;
        self.work.notify_one();
    }

    /// Has the thread end when it has written what is queued; later lines are lost.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.work.notify_one();
    }

    /// Waits until all that was asked for is done, at most `patience`; how many lines are still not written.
    pub(super) fn wait(&self, patience: Duration) -> u64 {
        let mut state = self.state.lock();
        self.done.wait_while_for(&mut state, |state| !state.is_done(), patience);
        state.lines + state.taken
    }

    /// The thread.
    fn run(&self, sink: &mut impl Sink) {
        let mut bytes = Vec::new();
        while let Some(reopen) = self.take(&mut bytes) {
            let lost = sink.write(&bytes);
            self.dropped.inc_by(lost);
            if reopen {
                sink.reopen();
            }
            bytes.clear();
            self.finished();
        }
    }

    /// Waits for work and takes all of it: the lines into `bytes`, and whether to reopen after them. `None` at the
    /// end.
    fn take(&self, bytes: &mut Vec<u8>) -> Option<bool> {
        let mut state = self.state.lock();
        self.work.wait_while_for(&mut state, |state| !(state.reopen || state.closing), LINGER);
        while !(state.has_work() || state.closing) {
            state.asleep = true;
            self.work.wait(&mut state);
        }
        state.asleep = false;
        if !state.has_work() {
            state.ended = true;
            self.done.notify_all();
            return None;
        }
        std::mem::swap(&mut state.bytes, bytes);
        state.taken = std::mem::take(&mut state.lines);
        state.busy = true;
        Some(std::mem::take(&mut state.reopen))
    }

    fn finished(&self) {
        let mut state = self.state.lock();
        state.taken = 0;
        state.busy = false;
        if state.is_done() {
            self.done.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// Tells of each write and then waits to be let go.
    struct Gate {
        writes: Sender<Vec<u8>>,
        go: Receiver<()>,
    }

    impl Sink for Gate {
        fn write(&mut self, bytes: &[u8]) -> u64 {
            self.writes.send(bytes.to_vec()).unwrap();
            let _closed = self.go.recv();
            0
        }

        fn reopen(&mut self) {
            self.writes.send(b"reopen".to_vec()).unwrap();
        }
    }

    fn gated(bound: usize) -> (Arc<Queue>, Receiver<Vec<u8>>, Sender<()>, Counter) {
        let (writes, written) = channel();
        let (go, gate) = channel();
        let dropped = Counter::default();
        let queue = Queue::bounded(bound, Gate { writes, go: gate }, dropped.clone()).unwrap();
        (queue, written, go, dropped)
    }

    #[test]
    fn a_stuck_output_costs_lines_and_never_blocks() {
        let (queue, written, go, dropped) = gated(10);
        queue.push(b"first\n");
        assert_eq!(written.recv().unwrap(), b"first\n");
        // The thread is now inside its write.
        queue.push(b"1234\n");
        queue.push(b"5678\n");
        queue.push(b"9\n");
        assert_eq!(dropped.get(), 1);
        assert_eq!(queue.wait(Duration::ZERO), 3);
        drop(go);
        assert_eq!(queue.wait(LONG), 0);
        assert_eq!(written.recv().unwrap(), b"1234\n5678\n");
    }

    #[test]
    fn a_reopen_comes_after_the_lines_before_it() {
        let (queue, written, go, _) = gated(100);
        queue.push(b"old\n");
        queue.reopen();
        drop(go);
        assert_eq!(queue.wait(LONG), 0);
        queue.push(b"new\n");
        assert_eq!(queue.wait(LONG), 0);
        queue.close();
        assert_eq!(queue.wait(LONG), 0);
        let order = [written.recv().unwrap(), written.recv().unwrap(), written.recv().unwrap()];
        assert_eq!(order, [b"old\n".to_vec(), b"reopen".to_vec(), b"new\n".to_vec()]);
    }

    #[test]
    fn closing_writes_what_is_queued_and_refuses_more() {
        let (queue, written, go, dropped) = gated(100);
        drop(go);
        queue.push(b"last\n");
        queue.close();
        queue.push(b"late\n");
        assert_eq!(queue.wait(LONG), 0);
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"last\n");
        assert_eq!(dropped.get(), 1);
    }
}
