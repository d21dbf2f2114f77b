//! Fields after the bodies of a request and its answer.
//!
//! For pingora a request ends without them, and an answer over HTTP/1.1 does, too. So they go round it: what is below it
//! ([`crate::lane`]) reads the ones and writes the others, and the request ([`crate::proxy`]) takes and leaves them here. Like
//! [`crate::last_word`] it belongs to the connection's task.

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
    /// Whether what is to come after an answer's body goes another way.
    is_of_requests: bool,
    /// What came after the request's body.
    received: Option<HeaderMap>,
    /// Whether the client reads what comes after an answer's.
    is_wanted: bool,
    /// What is to come after that.
    left: Option<HeaderMap>,
}

impl Postscript {
    /// One for what comes after requests only, as over HTTP/2, where the session itself sends what comes after answers.
    pub fn of_requests() -> Postscript {
        Postscript(Arc::new(Mutex::new(State { is_of_requests: true, ..State::default() })))
    }

    /// Runs a connection with this as its own.
    pub async fn scope<F: Future>(self, connection: F) -> F::Output {
        OF_THIS_CONNECTION.scope(self, connection).await
    }

    /// That of the connection this is called for; `None` for what has none, as a refresh.
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

    /// Leaves fields to be sent after the answer's body, if the client reads them; gives them back if the session sends them.
    pub fn leave(&self, fields: HeaderMap) -> Option<HeaderMap> {
        let mut state = self.0.lock();
        if state.is_of_requests {
            return Some(fields);
        }
        if state.is_wanted {
            state.left = Some(fields);
        }
        None
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
        assert_eq!((postscript.leave(fields()), postscript.take()), (None, None));
        postscript.want();
        assert_eq!(postscript.leave(fields()), None);
        assert_eq!((postscript.take(), postscript.take()), (Some(fields()), None));
    }

    #[test]
    fn one_of_requests_leaves_answers_to_the_session() {
        let postscript = Postscript::of_requests();
        postscript.want();
        assert_eq!((postscript.leave(fields()), postscript.take()), (Some(fields()), None));
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
