//! A target in absolute form, rewritten as the origin form it means (RFC 9112 §3.2.2).
//!
//! Its authority counts, and `Host` is to be ignored; pingora instead refuses a request in which the two differ. So
//! the head is rewritten before pingora sees it, which also leaves the later phases one form to deal with.

use bytes::BytesMut;

use super::head::Refusal;

/// The head with its target in origin form and its authority as `Host`, or `None` if it is in that form already.
pub(super) fn rewrite(head: &[u8]) -> Result<Option<BytesMut>, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("target");
    let start = head.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(0);
    let (line, fields) = split_line(&head[start..]).ok_or(MALFORMED)?;
    let mut words = line.splitn(3, |&b| b == b' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(MALFORMED);
    };
    if target.starts_with(b"/") || target == b"*" {
        return Ok(None);
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    });
    let rest = rest.ok_or(MALFORMED)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(end);
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(MALFORMED);
    }
    let mut out = BytesMut::with_capacity(head.len() + 16);
    out.extend_from_slice(method);
    out.extend_from_slice(if origin.starts_with(b"/") { b" " } else { b" /" });
    out.extend_from_slice(origin);
    out.extend_from_slice(b" ");
    out.extend_from_slice(version);
    out.extend_from_slice(b"\r\nHost: ");
    out.extend_from_slice(authority);
    out.extend_from_slice(b"\r\n");
    let mut fields = fields;
    while let Some((line, after)) = split_line(fields) {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(b"host") {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
        fields = after;
    }
    Ok(Some(out))
}

/// The first line without its CRLF, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(head: &str) -> String {
        let out = rewrite(head.as_bytes()).unwrap().unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_authority_of_an_absolute_target_replaces_host() {
        assert_eq!(
            rewritten("GET http://a.example:81/x?y HTTP/1.1\r\nhost: b\r\nAccept: */*\r\n\r\n"),
            "GET /x?y HTTP/1.1\r\nHost: a.example:81\r\nAccept: */*\r\n\r\n"
        );
        assert_eq!(rewritten("GET HTTP://a HTTP/1.0\r\n\r\n"), "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        assert_eq!(rewritten("GET http://a?q HTTP/1.0\r\n\r\n"), "GET /?q HTTP/1.0\r\nHost: a\r\n\r\n");
    }

    #[test]
    fn origin_and_asterisk_form_stay_as_they_are() {
        for target in ["/", "/http://a/", "*"] {
            assert_eq!(rewrite(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()), Ok(None));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for target in ["a.example:80", "ftp://a/", "http://", "http://u@a/", "x"] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(rewrite(head.as_bytes()), Err(Refusal::Malformed("target")), "{target}");
        }
    }
}
