//! Fields after the bodies of a request and its answer, over HTTP/1.1.
//!
//! For pingora a body over HTTP/1.1 ends without them: those of a request it reads and drops, and of an answer's it says that
//! they are not supported yet. So they go round it: the stream below it ([`crate::lane`]) reads the ones and writes the
//! others, and the request ([`crate::proxy`]) takes and leaves them here. Like [`crate::last_word`] it belongs to the
//! connection's task.

use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;

tokio::task_local! {
    static OF_THIS_CONNECTION: Postscript;
}

/// The fields after the bodies of one connection's present exchange; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Postscript(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What came after the request's body.
    received: Option<HeaderMap>,
    /// Whether the client reads what comes after an answer's.
    is_wanted: bool,
    /// What is to come after that.
    left: Option<HeaderMap>,
}

impl Postscript {
    /// Runs a connection with this as its own.
    pub async fn scope<F: Future>(self, connection: F) -> F::Output {
        OF_THIS_CONNECTION.scope(self, connection).await
    }

    /// That of the connection this is called for; `None` for what has none, as a request over HTTP/2.
    pub fn of_this_connection() -> Option<Postscript> {
        OF_THIS_CONNECTION.try_with(Clone::clone).ok()
    }

    /// These came after the request's body.
    pub fn receive(&self, fields: HeaderMap) {
        self.0.lock().received = Some(fields);
    }

    /// What came after the request's body, as often as it is sent.
    pub fn received(&self) -> Option<HeaderMap> {
        self.0.lock().received.clone()
    }

    /// The client reads what comes after the answer's body (`TE: trailers`).
    pub fn want(&self) {
        self.0.lock().is_wanted = true;
    }

    /// Whether it does.
    pub fn is_wanted(&self) -> bool {
        self.0.lock().is_wanted
    }

    /// Leaves fields to be sent after the answer's body, if the client reads them.
    pub fn leave(&self, fields: HeaderMap) {
        let mut state = self.0.lock();
        if state.is_wanted {
            state.left = Some(fields);
        }
    }

    /// Takes them, to be sent now.
    pub fn take(&self) -> Option<HeaderMap> {
        self.0.lock().left.take()
    }

    /// Another exchange begins.
    pub fn clear(&self) {
        *self.0.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> HeaderMap {
        crate::trailers::parse(b"x-sum: a\r\n").unwrap()
    }

    #[test]
    fn only_who_wants_it_gets_it_and_once() {
        let postscript = Postscript::default();
        postscript.leave(fields());
        assert_eq!(postscript.take(), None);
        postscript.want();
        postscript.leave(fields());
        assert_eq!((postscript.take(), postscript.take()), (Some(fields()), None));
    }

    #[test]
    fn what_was_received_may_be_sent_again_until_the_next_request() {
        let postscript = Postscript::default();
        postscript.receive(fields());
        assert_eq!((postscript.received(), postscript.received()), (Some(fields()), Some(fields())));
        postscript.clear();
        assert_eq!(postscript.received(), None);
    }

    #[tokio::test]
    async fn it_belongs_to_one_connection() {
        let postscript = Postscript::default();
        assert!(Postscript::of_this_connection().is_none());
        postscript.clone().scope(async { Postscript::of_this_connection().unwrap().receive(fields()) }).await;
        assert!(postscript.received().is_some());
    }
}
