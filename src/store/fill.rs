//! A response on its way in, and everyone who reads it meanwhile.
//!
//! A fill begins by retaining what comes: whoever asks for the same key attaches, starts at the first byte and follows.
//! If it ends well its chunks become the entry. If it turns out that it will not be stored (too large, no room, purged)
//! it passes: those who have attached still get every byte, nobody new can attach, and a chunk is dropped once all have
//! read it. Cutting the transfer instead, as `max_file_size` of pingora does, would break downloads that work without
//! a cache; retaining all the same would let one endless response take all the memory.
//!
//! What a passing fill holds is bounded by making the writer wait for its readers, see `flow.rs`. When no reader is
//! left the fill fails, which stops a transfer that nobody wants.
//!
//! # How it ends
//!
//! A reader sees the end only after the writer has declared the fill whole, which it does after the length was checked.
//! Everything else is an error to the reader, never a clean end: a truncated page that looks complete is stored again
//! by the next cache.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::entry::{Body, Place};
use super::flow::{Flow, Pace, Read, Who};
use super::label::Standing;
use super::meta::{Declared, Meta, Serial};
use super::room::Claim;
use super::{Broken, NotStored};

/// How long a reader that holds up the others may take nothing. It takes 64 to 128 KiB at a time, so a client that
/// receives 13 KB/s passes; and the others have to bear it that long.
const STALL: Duration = Duration::from_secs(10);

/// A fill.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) place: Place,
    pub(super) serial: Serial,
    pub(super) meta: Meta,
    /// How it stands to the purges.
    pub(super) standing: Standing,
    flow: Mutex<Flow>,
    /// Told to readers: there is more, or it is over.
    progress: Notify,
    /// Told to the writer: a reader has read or left.
    space: Notify,
}

impl Fill {
    /// A fill that retains up to `limit` bytes, accounted for by `claim`. `newest` is the newest purge.
    pub(super) fn new(place: Place, serial: Serial, mut meta: Meta, newest: u64, limit: u64, claim: Claim) -> Fill {
        let standing = Standing::new(meta.take_label(), newest);
        let mut flow = Flow::new(limit, claim);
        if let Declared::Length(declared) = meta.declared()
            && declared > limit
        {
            flow.pass(NotStored::TooLarge);
        }
        let (flow, meta) = (Mutex::new(flow), meta.of_body(serial));
        Fill { place, serial, meta, standing, flow, progress: Notify::new(), space: Notify::new() }
    }

    /// A seat at the first byte, if there still is one to be had: its number.
    pub(super) fn sit(&self, who: Who) -> Option<u64> {
        self.flow.lock().sit(who)
    }

    /// Gives the seat up.
    pub(super) fn stand(&self, seat: u64) {
        self.flow.lock().leave(seat);
        self.space.notify_one();
    }

    /// What is next for `seat`.
    pub(super) fn read(&self, seat: u64) -> Read {
        let (read, freed) = self.flow.lock().read(seat);
        if freed {
            self.space.notify_one();
        }
        read
    }

    /// [`Fill::read`], but waits while there is nothing. Cancel safe: nothing is taken before it returns.
    pub(super) async fn next(&self, seat: u64) -> Read {
        loop {
            match self.read(seat) {
                Read::Pending => {}
                read => return read,
            }
            // Registered before the second look, so that what comes in between is not missed.
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            match self.read(seat) {
                Read::Pending => progress.await,
                read => return read,
            }
        }
    }

    /// Until it has ended, well or not.
    pub(super) async fn over(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.flow.lock().is_over() {
                return;
            }
            progress.await;
        }
    }

    /// Appends `data`, then waits for readers that are too far behind.
    ///
    /// # Errors
    /// [`Broken::Unread`] if it is not going to be stored and nobody reads it.
    pub(super) async fn write(&self, data: Bytes) -> Result<(), Broken> {
        if data.is_empty() {
            return Ok(());
        }
        self.flow.lock().push(data);
        self.progress.notify_waiters();
        loop {
            let waiting_for = match self.flow.lock().pace() {
                Pace::Go => return Ok(()),
                Pace::Stop => return Err(Broken::Unread),
                Pace::Wait(seats) => seats,
            };
            // One clock for the round: a reader that moves must not prolong the patience with one that does not.
            if timeout(STALL, self.near()).await.is_err() {
                self.flow.lock().cut_unmoved(&waiting_for);
                self.progress.notify_waiters();
            }
        }
    }

    /// Until there is no more to wait for.
    async fn near(&self) {
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            space.as_mut().enable();
            if !matches!(self.flow.lock().pace(), Pace::Wait(_)) {
                return;
            }
            space.await;
        }
    }

    /// From now on only for those who have attached.
    pub(super) fn pass(&self, reason: NotStored) {
        self.flow.lock().pass(reason);
    }

    /// Whether the head declared another length than what has come.
    pub(super) fn is_belied(&self) -> bool {
        self.meta.declared().contradicts(self.length())
    }

    /// The whole body, or why it is not stored. The readers learn of neither yet.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn body(&self) -> Result<Body, NotStored> {
        self.flow.lock().body()
    }

    /// The end, clean if `whole`. The number of readers that were cut off before.
    pub(super) fn end(&self, whole: bool) -> u64 {
        let cut = self.flow.lock().end(whole);
        self.progress.notify_waiters();
        cut
    }

    /// Whether others may still read it from the beginning.
    pub(super) fn is_open(&self) -> bool {
        self.flow.lock().is_retaining()
    }

    /// Body bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.flow.lock().length()
    }
}
