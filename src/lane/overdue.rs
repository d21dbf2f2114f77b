//! When the last word of a request is to be said.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use crate::clock;
use crate::last_word::LastWord;

/// Waits for the time of the present request's last word.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    word: LastWord,
    alarm: Option<Pin<Box<Sleep>>>,
    said: bool,
}

impl Overdue {
    /// What a request leaves its last word with.
    pub(super) fn word(&self) -> &LastWord {
        &self.word
    }

    /// Another request begins.
    pub(super) fn begin(&mut self) {
        self.word.clear();
        (self.alarm, self.said) = (None, false);
    }

    /// Whether it was given out: nothing else may be said.
    pub(super) fn is_said(&self) -> bool {
        self.said
    }

    /// Gives out the last word when it is due.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(due) = self.word.due() else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(due.since(clock::now()))));
        ready!(alarm.as_mut().poll(cx));
        let Some(word) = self.word.take() else { return Poll::Pending };
        self.said = true;
        Poll::Ready(word)
    }
}
