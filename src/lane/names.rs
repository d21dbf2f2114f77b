//! The request fields that the lane knows.

/// One of them, or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    AcceptEncoding,
    CacheControl,
    Connection,
    ContentLength,
    Expect,
    Forwarded,
    GrpcTimeout,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfUnmodifiedSince,
    Pragma,
    Range,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
    XRequestTimeoutMs,
    Other,
}

impl Name {
    /// Which one it is, in any case. By length first: most fields are then told from all of these at once.
    pub(super) fn of(name: &str) -> Name {
        let candidates: &[(&str, Name)] = match name.len() {
            4 => &[("host", Name::Host)],
            5 => &[("range", Name::Range)],
            6 => &[("expect", Name::Expect), ("pragma", Name::Pragma)],
            7 => &[("upgrade", Name::Upgrade)],
            8 => &[("if-match", Name::IfMatch)],
            9 => &[("forwarded", Name::Forwarded)],
            10 => &[("connection", Name::Connection)],
            12 => &[("x-request-id", Name::XRequestId), ("grpc-timeout", Name::GrpcTimeout)],
            13 => &[("cache-control", Name::CacheControl), ("if-none-match", Name::IfNoneMatch)],
            14 => &[("content-length", Name::ContentLength)],
            15 => &[("accept-encoding", Name::AcceptEncoding), ("x-forwarded-for", Name::XForwardedFor)],
            16 => &[("x-forwarded-host", Name::XForwardedHost)],
            17 => &[
                ("if-modified-since", Name::IfModifiedSince),
                ("transfer-encoding", Name::TransferEncoding),
                ("x-forwarded-proto", Name::XForwardedProto),
            ],
            19 => &[("if-unmodified-since", Name::IfUnmodifiedSince)],
            20 => &[("x-request-timeout-ms", Name::XRequestTimeoutMs)],
            _ => &[],
        };
        candidates.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map_or(Name::Other, |(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case() {
        for (name, known) in [
            ("Host", Name::Host),
            ("TRANSFER-encoding", Name::TransferEncoding),
            ("if-none-match", Name::IfNoneMatch),
            ("X-Request-Timeout-Ms", Name::XRequestTimeoutMs),
            ("hose", Name::Other),
            ("", Name::Other),
            ("X-Request_Id", Name::Other),
        ] {
            assert_eq!(Name::of(name), known, "{name}");
        }
    }
}
