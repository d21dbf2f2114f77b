//! What a client is told at the end of its time while the fetch that it set off goes on for others.
//!
//! For pingora a fetch and the answer to who set it off are one: it ends both or neither, but for a client that leaves, whose
//! fetch it carries on into the cache. So the answer comes from below it: the request leaves its last word here, the
//! connection ([`crate::lane`]) says it when its time has come and nothing else was said, and then looks to pingora like
//! one whose client has left. Pingora has no place for such a word between the two, so it belongs to the connection's task.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::futures::TaskLocalFuture;

use crate::units::Tick;

tokio::task_local! {
    static OF_THIS_CONNECTION: LastWord;
}

/// The last word of one connection's present request; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct LastWord(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    /// There is none.
    #[default]
    None,
    /// To be said at that time.
    Due { at: Tick, head: String, body: &'static str },
    /// It was said.
    Said(Said),
}

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// When it was due.
    pub at: Tick,
    /// The length of its body in bytes.
    pub body: u64,
}

impl LastWord {
    /// Runs a connection with this as its own.
    pub fn scope<F: Future>(self, connection: F) -> TaskLocalFuture<LastWord, F> {
        OF_THIS_CONNECTION.scope(self, connection)
    }

    /// That of the connection this is called for; `None` for a request that has none, as a refresh.
    pub fn of_this_connection() -> Option<LastWord> {
        OF_THIS_CONNECTION.try_with(Clone::clone).ok()
    }

    /// Leaves a whole response to be said at `at`: its head to the empty line, and its body.
    pub fn leave(&self, at: Tick, head: String, body: &'static str) {
        *self.0.lock() = State::Due { at, head, body };
    }

    /// When there is something to say.
    pub fn due(&self) -> Option<Tick> {
        match *self.0.lock() {
            State::Due { at, .. } => Some(at),
            State::None | State::Said(_) => None,
        }
    }

    /// Takes it, to be said now.
    pub fn take(&self) -> Option<Bytes> {
        let mut state = self.0.lock();
        match std::mem::take(&mut *state) {
            State::Due { at, head, body } => {
                *state = State::Said(Said { at, body: body.len() as u64 });
                Some(Bytes::from(head + body))
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// What was said to the present request, if that was all.
    pub fn said(&self) -> Option<Said> {
        match *self.0.lock() {
            State::Said(said) => Some(said),
            State::None | State::Due { .. } => None,
        }
    }

    /// Another request begins.
    pub fn clear(&self) {
        *self.0.lock() = State::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once() {
        let word = LastWord::default();
        assert_eq!((word.due(), word.take(), word.said()), (None, None, None));
        let at = Tick::from_nanos(7);
        word.leave(at, "none: ".to_owned(), "no");
        assert_eq!((word.due(), word.said()), (Some(at), None));
        assert_eq!(word.take().as_deref(), Some(&b"none: no"[..]));
        assert_eq!((word.due(), word.take(), word.said()), (None, None, Some(Said { at, body: 2 })));
        word.clear();
        assert_eq!(word.said(), None);
    }

    #[tokio::test]
    async fn it_belongs_to_one_connection() {
        assert!(LastWord::of_this_connection().is_none());
        let word = LastWord::default();
        let left = async {
            LastWord::of_this_connection().unwrap().leave(Tick::from_nanos(7), String::new(), "");
            // What a request sets off in the background is nobody's.
            tokio::spawn(async { LastWord::of_this_connection().is_none() }).await.unwrap()
        };
        assert!(word.clone().scope(left).await);
        assert!(word.due().is_some());
    }
}
