//! Why an attempt at a backend failed: one word for the log, the metric, `Proxy-Status` and the answer's status.

use pingora::{Error, ErrorType};

use crate::telemetry::Termination;

/// What went wrong between us and a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The name of every backend of the pool is still unresolved.
    DnsError,
    /// No backend may be used: all are ejected, down, or were tried already.
    NoBackend,
    /// The backend refused the connection.
    ConnectionRefused,
    /// The connection was not made within `connect`.
    ConnectionTimeout,
    /// The connection could not be made for another reason.
    ConnectFailed,
    /// The TLS handshake failed.
    TlsHandshake,
    /// The backend's certificate was not accepted.
    TlsCertificate,
    /// The backend does not speak HTTP/2, though the pool says so.
    NotHttp2,
    /// The backend said that it has not looked at the request (RFC 9113 §8.7).
    StreamRefused,
    /// The request could not be written.
    WriteFailed,
    /// No byte of a response came within `first_byte`.
    FirstByteTimeout,
    /// The response stopped for longer than `between_bytes`.
    BetweenBytesTimeout,
    /// The route's `timeout`, or the time that the client gave, ran out before a response's head.
    Deadline,
    /// The exchange took longer than `total`.
    TotalTimeout,
    /// The connection ended before a whole response.
    ClosedEarly,
    /// What came is not an HTTP response.
    InvalidResponse,
    /// A 304 to a request that had no condition.
    UnexpectedNotModified,
    /// There was no place at the backends; they have not been asked.
    Shed,
    /// The backends say "not now", and chance had it that none of them is asked this time.
    Throttled,
    /// The client's body grew over the route's limit; no fault of the backend's.
    BodyRefused,
}

impl Failure {
    /// The word in logs, metrics and the `details` of `Proxy-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::DnsError => "dns-error",
            Failure::NoBackend => "no-backend",
            Failure::ConnectionRefused => "connection-refused",
            Failure::ConnectionTimeout => "connection-timeout",
            Failure::ConnectFailed => "connect-failed",
            Failure::TlsHandshake => "tls-handshake",
            Failure::TlsCertificate => "tls-certificate",
            Failure::NotHttp2 => "not-http2",
            Failure::StreamRefused => "stream-refused",
            Failure::WriteFailed => "write-failed",
            Failure::FirstByteTimeout => "first-byte-timeout",
            Failure::BetweenBytesTimeout => "between-bytes-timeout",
            Failure::Deadline => "deadline",
            Failure::TotalTimeout => "total-timeout",
            Failure::ClosedEarly => "closed-early",
            Failure::InvalidResponse => "invalid-response",
            Failure::UnexpectedNotModified => "unexpected-not-modified",
            Failure::Shed => "shed",
            Failure::Throttled => "throttled",
            Failure::BodyRefused => "body-refused",
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209 §2.3).
    pub fn proxy_error(self) -> &'static str {
        match self {
            Failure::DnsError => "dns_error",
            Failure::NoBackend => "destination_unavailable",
            Failure::ConnectionRefused => "connection_refused",
            Failure::ConnectionTimeout => "connection_timeout",
            Failure::ConnectFailed => "destination_ip_unroutable",
            Failure::TlsHandshake => "tls_protocol_error",
            Failure::TlsCertificate => "tls_certificate_error",
            Failure::WriteFailed => "connection_write_error",
            Failure::FirstByteTimeout | Failure::Deadline | Failure::TotalTimeout => "http_response_timeout",
            Failure::BetweenBytesTimeout => "connection_read_timeout",
            Failure::ClosedEarly => "http_response_incomplete",
            Failure::InvalidResponse | Failure::UnexpectedNotModified | Failure::NotHttp2 => "http_protocol_error",
            Failure::Shed | Failure::Throttled | Failure::StreamRefused => "connection_limit_reached",
            Failure::BodyRefused => "http_request_error",
        }
    }

    /// The status of the answer when no response's head was sent yet.
    pub fn status(self) -> u16 {
        match self {
            Failure::BodyRefused => 413,
            Failure::DnsError | Failure::NoBackend | Failure::StreamRefused | Failure::Shed | Failure::Throttled => 503,
            Failure::ConnectionTimeout
            | Failure::FirstByteTimeout
            | Failure::BetweenBytesTimeout
            | Failure::Deadline
            | Failure::TotalTimeout => 504,
            _ => 502,
        }
    }

    /// Why a request ended that ended with this failure.
    pub fn termination(self) -> Termination {
        match self {
            Failure::DnsError | Failure::NoBackend => Termination::NoBackend,
            Failure::ConnectionRefused
            | Failure::ConnectFailed
            | Failure::TlsHandshake
            | Failure::TlsCertificate
            | Failure::NotHttp2 => Termination::ConnectFailed,
            Failure::ConnectionTimeout => Termination::ConnectTimeout,
            Failure::FirstByteTimeout | Failure::BetweenBytesTimeout => Termination::UpstreamTimeout,
            Failure::Deadline | Failure::TotalTimeout => Termination::Deadline,
            Failure::WriteFailed | Failure::StreamRefused | Failure::ClosedEarly => Termination::UpstreamClosed,
            Failure::InvalidResponse | Failure::UnexpectedNotModified => Termination::UpstreamInvalid,
            Failure::Shed | Failure::Throttled => Termination::Shed,
            Failure::BodyRefused => Termination::BodyTooLarge,
        }
    }

    /// Whether the failure says that the request cannot have been acted upon, so that any method may be retried.
    pub fn before_request(self) -> bool {
        matches!(
            self,
            Failure::ConnectionRefused
                | Failure::ConnectionTimeout
                | Failure::ConnectFailed
                | Failure::TlsHandshake
                | Failure::TlsCertificate
                | Failure::NotHttp2
                | Failure::StreamRefused
        )
    }

    /// What a failed connect was.
    pub fn of_connect(e: &Error) -> Failure {
        match e.etype {
            ErrorType::ConnectRefused => Failure::ConnectionRefused,
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::ConnectionTimeout,
            ErrorType::InvalidCert => Failure::TlsCertificate,
            // Pingora has one word for both; rustls says which in its own.
            ErrorType::TLSHandshakeFailure if e.to_string().contains("NoApplicationProtocol") => Failure::NotHttp2,
            ErrorType::TLSHandshakeFailure if e.to_string().contains("certificate") => Failure::TlsCertificate,
            ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError | ErrorType::TLSWantX509Lookup => {
                Failure::TlsHandshake
            }
            _ => Failure::ConnectFailed,
        }
    }

    /// What a failed read of a response was; `timeout` says which clock a read that timed out was under.
    pub fn of_read(e: &Error, timeout: Failure) -> Failure {
        match e.etype {
            ErrorType::ReadTimedout => timeout,
            ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 | ErrorType::H2Error => {
                Failure::InvalidResponse
            }
            _ => Failure::ClosedEarly,
        }
    }
}
