//! Why a request ended: one word per cause, the same in the access log, the metric and the response's headers.
//!
//! A status alone does not say it: a 502 may be a refused connection, an early close or garbage; a 200 may have been
//! cut off in the middle. The set is closed and documented in docs/access-log.md, so that it can be learned once
//! (after HAProxy's "session state at disconnection").

use super::words::words;

words! {
    /// The first cause that ended a request.
    Termination {
        /// The whole response was sent.
        Done = "done",
        /// The client closed its connection before the response was complete.
        ClientClosed = "client-closed",
        /// The client was too slow to send its head or body, or to take the response.
        ClientTimeout = "client-timeout",
        /// The request's head was over the limit of bytes or fields.
        HeadTooLarge = "head-too-large",
        /// The request's target was over the limit.
        UriTooLong = "uri-too-long",
        /// The request could not be understood.
        BadRequest = "bad-request",
        /// The request's body was over the route's limit.
        BodyTooLarge = "body-too-large",
        /// The method is one that a proxy for a site does not serve.
        MethodRefused = "method-refused",
        /// No route matches host and path.
        NoRoute = "no-route",
        /// The client, or all clients together, sent more requests than the route admits.
        RateLimited = "rate-limited",
        /// The pool has no backend that may be asked.
        NoBackend = "no-backend",
        /// There was no place at the backends: too many requests at a time.
        Shed = "shed",
        /// The connection to the backend was refused, unreachable or failed in its TLS handshake.
        ConnectFailed = "connect-failed",
        /// The connection to the backend was not made in time.
        ConnectTimeout = "connect-timeout",
        /// The backend did not send its head, or its next bytes, in time.
        UpstreamTimeout = "upstream-timeout",
        /// The backend closed before its response was complete.
        UpstreamClosed = "upstream-closed",
        /// The backend sent what is not a valid response to the request.
        UpstreamInvalid = "upstream-invalid",
        /// The route's time for the whole request was used up.
        Deadline = "deadline",
        /// The edge ended before the response was complete: SIGINT, or the grace period was over.
        Cut = "cut",
        /// A fault of the edge itself.
        Internal = "internal",
    }
}

impl Termination {
    /// Whether it is the edge's, a backend's or the operator's doing, and not the client's.
    pub const fn is_fault(self) -> bool {
        match self {
            Termination::NoBackend
            | Termination::Shed
            | Termination::ConnectFailed
            | Termination::ConnectTimeout
            | Termination::UpstreamTimeout
            | Termination::UpstreamClosed
            | Termination::UpstreamInvalid
            | Termination::Deadline
            | Termination::Cut
            | Termination::Internal => true,
            Termination::Done
            | Termination::ClientClosed
            | Termination::ClientTimeout
            | Termination::HeadTooLarge
            | Termination::UriTooLong
            | Termination::BadRequest
            | Termination::BodyTooLarge
            | Termination::MethodRefused
            | Termination::NoRoute
            | Termination::RateLimited => false,
        }
    }

    /// The status sent when the cause is known before a response was begun; `None` where the response is the
    /// backend's own, or nobody is left to read one.
    pub const fn status(self) -> Option<u16> {
        Some(match self {
            Termination::Done | Termination::ClientClosed | Termination::Cut => return None,
            Termination::ClientTimeout => 408,
            Termination::HeadTooLarge => 431,
            Termination::UriTooLong => 414,
            Termination::BadRequest => 400,
            Termination::BodyTooLarge => 413,
            Termination::MethodRefused => 405,
            Termination::NoRoute => 404,
            Termination::RateLimited => 429,
            Termination::NoBackend | Termination::Shed => 503,
            Termination::ConnectFailed | Termination::UpstreamClosed | Termination::UpstreamInvalid => 502,
            Termination::ConnectTimeout | Termination::UpstreamTimeout | Termination::Deadline => 504,
            Termination::Internal => 500,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kebab_case_and_unique() {
        for (i, word) in Termination::WORDS.iter().enumerate() {
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{word}");
            assert!(!Termination::WORDS[..i].contains(word), "{word} twice");
        }
    }

    #[test]
    fn the_document_lists_every_reason_with_its_status() {
        let document = include_str!("../../docs/access-log.md");
        let (_, table) = document.split_once("| reason | status |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let listed: Vec<_> = table.lines().filter(|row| row.starts_with("| `")).collect();
        assert_eq!(listed.len(), Termination::ALL.len());
        for (row, reason) in listed.iter().zip(Termination::ALL) {
            let status = reason.status().map_or("|".to_owned(), |status| format!("{status} |"));
            assert!(row.starts_with(&format!("| `{reason}` | {status}")), "{row}");
        }
    }

    #[test]
    fn every_refusal_has_an_error_status() {
        for reason in Termination::ALL {
            assert!(reason.status().is_none_or(|s| (400..600).contains(&s)), "{reason}");
        }
    }
}
