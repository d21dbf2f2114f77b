//! The response on a stream, as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::RecvStream;
use ::h2::client::ResponseFuture;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use pingora::http::ResponseHeader;

use super::link::Slot;
use super::{error, head};
use crate::clock;
use crate::trailers;
use crate::units::Tick;
use crate::upstream::Failure;

/// Interim responses that are read for one request; an origin that sends more is broken.
const MAX_INTERIM: u32 = 16;

/// A response that was asked for.
pub(super) struct Answer {
    response: ResponseFuture,
    /// Its body, once the final head has come.
    body: Option<RecvStream>,
    head: Option<Box<ResponseHeader>>,
    trailers: Option<HeaderMap>,
    interim: u32,
    /// Whether it answers a HEAD.
    is_head: bool,
    is_done: bool,
    /// Bytes of the body still to come, if that was announced.
    left: Option<u64>,
    /// Since when what comes next is waited for.
    since: Tick,
    // Last: the place is free once the stream is.
    slot: Slot,
}

impl Answer {
    pub(super) fn new(slot: Slot, response: ResponseFuture, is_head: bool) -> Answer {
        Answer {
            response,
            body: None,
            head: None,
            trailers: None,
            interim: 0,
            is_head,
            is_done: false,
            left: None,
            since: clock::now(),
            slot,
        }
    }

    /// The last head that came.
    pub(super) fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_deref()
    }

    pub(super) fn take_head(&mut self) -> Option<Box<ResponseHeader>> {
        self.head.take()
    }

    /// The fields after the body, once that has ended.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Whether all of it has come, and no fields after it.
    pub(super) fn is_done(&self) -> bool {
        self.is_done || self.body.as_ref().is_some_and(|body| body.is_end_stream() && self.left.unwrap_or(0) == 0)
    }

    /// The next head, interim or final.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let head = ready!(self.poll_any_head(cx));
        self.heard();
        self.head = Some(head?);
        Poll::Ready(Ok(()))
    }

    fn poll_any_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<ResponseHeader>, Failure>> {
        if self.body.is_some() {
            // The final one has come, after which the crate must not be asked for another.
            return Poll::Ready(Err(Failure::InvalidResponse));
        }
        if let Some(interim) = ready!(self.response.poll_informational(cx)) {
            let interim = interim.map_err(|e| error::failure(&e))?;
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Poll::Ready(Err(Failure::InvalidResponse));
            }
            return Poll::Ready(head::of(interim.status(), interim.headers()));
        }
        let response = ready!(Pin::new(&mut self.response).poll(cx)).map_err(|e| error::failure(&e))?;
        let (parts, body) = response.into_parts();
        let head = head::of(parts.status, &parts.headers)?;
        self.is_done = self.is_head || matches!(parts.status.as_u16(), 204 | 304);
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.left = announced.filter(|_| !self.is_done);
        self.body = Some(body);
        Poll::Ready(Ok(head))
    }

    /// The next bytes of the body, copied, so that what is kept of them keeps no read buffer alive; `None` at its end.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            if self.is_done {
                return Poll::Ready(Ok(None));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Err(Failure::InvalidResponse)) };
            let data = match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => data,
                Some(Err(e)) if error::is_end(&e) => return Poll::Ready(self.end(None)),
                Some(Err(e)) => return Poll::Ready(Err(error::failure(&e))),
                None => {
                    let trailers = ready!(body.poll_trailers(cx)).map_err(|e| error::failure(&e))?;
                    return Poll::Ready(self.end(trailers));
                }
            };
            // The window opens as far as the body is taken.
            body.flow_control().release_capacity(data.len()).map_err(|e| error::failure(&e))?;
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(data.len() as u64).ok_or(Failure::InvalidResponse)?;
            }
            self.heard();
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(Bytes::copy_from_slice(&data))));
            }
        }
    }

    /// The body has ended, with these fields after it.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Bytes>, Failure> {
        self.heard();
        if self.left.is_some_and(|left| left > 0) {
            return Err(Failure::ClosedEarly);
        }
        if trailers.as_ref().is_some_and(|fields| trailers::size(fields) > trailers::MAX) {
            return Err(Failure::InvalidResponse);
        }
        self.is_done = true;
        self.trailers = trailers;
        Ok(None)
    }

    fn heard(&mut self) {
        self.slot.hear();
        self.since = clock::now();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_done() {
            self.slot.give_up(self.since);
        }
    }
}
