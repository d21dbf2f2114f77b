//! What the head of a final response says of the backend that sent it.

use http::header::RETRY_AFTER;
use pingora::http::ResponseHeader;

use crate::grpc;

/// Whether what was asked is a gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is none.
    Plainly,
    /// It is one. To run out of a time that the client has set is no fault of the backend's: else a client that waits for a
    /// millisecond could have backends ejected.
    ByCall {
        /// Whether the client has set one.
        is_timed: bool,
    },
}

/// What is to be thought of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Good,
    /// It cannot.
    Error,
    /// It cannot now.
    Pushback,
    /// That is said only after the answer's body.
    Open,
}

impl Verdict {
    /// What a head says, and the status in terms of HTTP.
    pub fn of(head: &ResponseHeader, asked: Asked) -> (u16, Verdict) {
        let status = head.status.as_u16();
        let Asked::ByCall { is_timed } = asked else { return (status, Verdict::plain(head)) };
        match grpc::Status::read(&head.headers) {
            Some(status) => (status.as_http(), Verdict::of_call(status, is_timed)),
            None if status == 200 => (status, Verdict::Open),
            None => (status, Verdict::plain(head)),
        }
    }

    /// What the status of a call says.
    pub fn of_call(status: grpc::Status, is_timed: bool) -> Verdict {
        match status {
            grpc::Status::RESOURCE_EXHAUSTED => Verdict::Pushback,
            grpc::Status::DEADLINE_EXCEEDED if is_timed => Verdict::Good,
            status if is_error(status.as_http()) => Verdict::Error,
            _ => Verdict::Good,
        }
    }

    fn plain(head: &ResponseHeader) -> Verdict {
        let status = head.status.as_u16();
        // 429 (RFC 6585 §4) or 503 (RFC 9110 §15.6.4), with a time to come again.
        if matches!(status, 429 | 503) && head.headers.contains_key(RETRY_AFTER) {
            Verdict::Pushback
        } else if is_error(status) {
            Verdict::Error
        } else {
            Verdict::Good
        }
    }
}

/// Whether the status says that the backend failed: of the server's errors those that are not about the request.
fn is_error(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        fields.iter().for_each(|(name, value)| assert!(head.append_header(*name, *value).is_ok()));
        head
    }

    const CALL: Asked = Asked::ByCall { is_timed: false };

    #[test]
    fn plain_answers_are_judged_by_their_status() {
        let of = |status, fields: &[_]| Verdict::of(&head(status, fields), Asked::Plainly);
        assert_eq!(of(200, &[("grpc-status", "14")]), (200, Verdict::Good));
        assert_eq!(of(500, &[]), (500, Verdict::Error));
        assert_eq!(of(501, &[]), (501, Verdict::Good));
        assert_eq!(of(503, &[]), (503, Verdict::Error));
        assert_eq!(of(503, &[("Retry-After", "1")]), (503, Verdict::Pushback));
    }

    #[test]
    fn calls_are_judged_by_theirs() {
        let of = |code: &str| Verdict::of(&head(200, &[("grpc-status", code)]), CALL);
        assert_eq!(of("0"), (200, Verdict::Good));
        assert_eq!(of("5"), (404, Verdict::Good));
        assert_eq!(of("8"), (429, Verdict::Pushback));
        assert_eq!(of("12"), (501, Verdict::Good));
        assert_eq!([of("2"), of("4"), of("13"), of("14")].map(|(_, verdict)| verdict), [Verdict::Error; 4]);
        assert_eq!(Verdict::of(&head(200, &[]), CALL), (200, Verdict::Open));
        assert_eq!(Verdict::of(&head(502, &[]), CALL), (502, Verdict::Error));
    }

    #[test]
    fn a_time_that_the_client_has_set_is_not_the_backends() {
        let exceeded = head(200, &[("grpc-status", "4")]);
        assert_eq!(Verdict::of(&exceeded, Asked::ByCall { is_timed: true }), (504, Verdict::Good));
    }
}
