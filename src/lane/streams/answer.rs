//! The answer to a request over HTTP/2, on its way to the client.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, DATE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::timeout;

use super::super::session::Answering;
use crate::caller::X_REQUEST_ID;
use crate::clock;
use crate::pace::Pace;

/// What HTTP/2 has no room for (RFC 9113 §8.2.2).
const NOT_HERE: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What is sent of it, and how.
pub(super) struct Answer {
    respond: SendResponse<Bytes>,
    /// Where its body goes, once its head is sent.
    stream: Option<SendStream<Bytes>>,
    /// The final head, once it is sent.
    head: Option<Box<ResponseHeader>>,
    has_ended: bool,
    /// Bytes of its body that were sent.
    sent: usize,
    /// How long the client may take nothing.
    patience: Option<Duration>,
    /// Where it is noted how long that was.
    pace: Pace,
}

impl Answer {
    /// Nothing sent yet.
    pub(super) fn new(respond: SendResponse<Bytes>, pace: Pace) -> Answer {
        Answer { respond, stream: None, head: None, has_ended: false, sent: 0, patience: None, pace }
    }

    fn interim(&mut self, head: &ResponseHeader) -> Result<()> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // There is nothing to switch to (RFC 9113 §8.6).
            return Ok(());
        }
        let response = Response::from_parts(head.as_owned_parts(), ());
        self.respond.send_informational(response).or_err(ErrorType::WriteError, "while sending an interim response")
    }
}

impl Answering for Answer {
    /// Sends a head, interim or final; with `end` that is all.
    async fn begin(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.has_ended || self.head.is_some() {
            return Ok(());
        }
        NOT_HERE.iter().for_each(|name| drop(head.remove_header(name)));
        if head.status.is_informational() {
            return self.interim(&head);
        }
        if !head.headers.contains_key(DATE) {
            head.insert_header(DATE, now())?;
        }
        let mut parts = head.as_owned_parts();
        if let Some(id) = parts.headers.get_mut(X_REQUEST_ID) {
            once(id);
        }
        let response = Response::from_parts(parts, ());
        let stream = self.respond.send_response(response, end);
        self.stream = Some(stream.or_err(ErrorType::WriteError, "while sending the response's head")?);
        self.head = Some(head);
        self.has_ended = end;
        Ok(())
    }

    /// Sends a part of its body, as the client has room for it; with `end` it is the last.
    async fn write(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        const WHILE: &str = "while sending the response's body";
        if self.has_ended {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else { return headless() };
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let room = match stream.capacity() {
                0 => room(stream, self.patience, &self.pace).await?,
                room => room,
            };
            let part = data.split_to(room.min(data.len()));
            self.sent += part.len();
            stream.send_data(part, end && data.is_empty()).or_err(ErrorType::WriteError, WHILE)?;
            if data.is_empty() {
                self.has_ended = end;
                return Ok(());
            }
        }
        stream.send_data(Bytes::new(), end).or_err(ErrorType::WriteError, WHILE)?;
        self.has_ended = end;
        Ok(())
    }

    /// Sends fields after its body, which end it.
    async fn end_with(&mut self, fields: HeaderMap) -> Result<()> {
        if self.has_ended {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else { return headless() };
        stream.send_trailers(fields).or_err(ErrorType::WriteError, "while sending the response's trailers")?;
        self.has_ended = true;
        Ok(())
    }

    /// Ends it, if it has begun. What has not is reset when this is dropped.
    async fn end(&mut self) -> Result<()> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.has_ended) else { return Ok(()) };
        stream.send_data(Bytes::new(), true).or_err(ErrorType::WriteError, "while ending the response")?;
        self.has_ended = true;
        Ok(())
    }

    /// Breaks it off.
    async fn break_off(&mut self) {
        if !self.has_ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Ready when the client has left, or no longer wants it.
    async fn left(&mut self) -> Box<Error> {
        const WHILE: &str = "while the client waits";
        let reset = poll_fn(|cx: &mut Context<'_>| -> Poll<_> {
            match &mut self.stream {
                Some(stream) => stream.poll_reset(cx),
                None => self.respond.poll_reset(cx),
            }
        });
        match reset.await {
            Ok(reason) => Error::explain(ErrorType::ConnectionClosed, format!("the client has reset it: {reason}")),
            Err(e) => Error::because(ErrorType::ConnectionClosed, WHILE, e),
        }
    }

    fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_deref()
    }

    fn sent(&self) -> usize {
        self.sent
    }

    fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    fn patience(&self) -> Option<Duration> {
        self.patience
    }
}

/// What the client has room for, once that is something: bytes.
async fn room(stream: &mut SendStream<Bytes>, patience: Option<Duration>, pace: &Pace) -> Result<usize> {
    const WHILE: &str = "waiting for the client to take the response";
    let since = clock::now();
    let room = poll_fn(|cx| stream.poll_capacity(cx));
    let room = match patience {
        Some(patience) => timeout(patience, room).await,
        None => Ok(room.await),
    };
    pace.waited(clock::now().since(since));
    match room {
        Ok(Some(room)) => room.or_err(ErrorType::WriteError, WHILE),
        Ok(None) => Error::e_explain(ErrorType::WriteError, WHILE),
        Err(_) => Error::e_explain(ErrorType::WriteTimedout, WHILE),
    }
}

/// Marks a value that no other answer will have. In the compression's table it would only push out what comes again.
pub(super) fn once(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

fn headless() -> Result<()> {
    Error::e_explain(ErrorType::InternalError, "a body without a head")
}

/// The time of sending, for an answer that says of no other when it was made.
pub(super) fn now() -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(clock::wall())).unwrap_or(HeaderValue::from_static(""))
}
