//! The origin's `Date`, past pingora.
//!
//! Pingora writes the time of sending over the `Date` of every response. A cache must not: the date is when the message
//! was made (RFC 9110 §6.6.1), caches behind us count from it, and together with `Age` it would make a copy look older
//! than it is. So the proxy puts the date aside under a name of its own, and the lane, through whose hands every head
//! goes, puts it back. The name is [`crate::store::ORIGINAL_DATE`].

use bytes::BytesMut;

const ASIDE: &[u8] = b"!date: ";
const DATE: &[u8] = b"date: ";

/// Appends the response's `head` to `to`, with the date that was put aside in the place of pingora's.
pub(super) fn restore_date(head: &[u8], to: &mut BytesMut) {
    let (mut aside, mut date) = (None, None);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', head) {
        let line = &head[start..=end];
        if aside.is_none() && line.starts_with(ASIDE) {
            aside = Some(start..end + 1);
        } else if date.is_none() && line.get(..DATE.len()).is_some_and(|name| name.eq_ignore_ascii_case(DATE)) {
            date = Some(start..end + 1);
        }
        start = end + 1;
    }
    let (Some(aside), Some(date)) = (aside, date) else {
        to.extend_from_slice(head);
        return;
    };
    let (first, second) = if aside.start < date.start { (&aside, &date) } else { (&date, &aside) };
    to.extend_from_slice(&head[..first.start]);
    to.extend_from_slice(b"Date: ");
    to.extend_from_slice(&head[aside.start + ASIDE.len()..aside.end]);
    to.extend_from_slice(&head[first.end..second.start]);
    to.extend_from_slice(&head[second.end..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(head: &str) -> String {
        let mut to = BytesMut::new();
        restore_date(head.as_bytes(), &mut to);
        String::from_utf8(to.to_vec()).unwrap()
    }

    #[test]
    fn the_date_that_was_put_aside_takes_the_place_of_the_other() {
        assert_eq!(
            restored("HTTP/1.1 200 OK\r\nA: 1\r\n!date: then\r\nB: 2\r\nDate: now\r\nC: 3\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nA: 1\r\nDate: then\r\nB: 2\r\nC: 3\r\n\r\n"
        );
        assert_eq!(
            restored("HTTP/1.1 200 OK\r\nDate: now\r\n!date: then\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nDate: then\r\n\r\n"
        );
    }

    #[test]
    fn a_head_without_one_stays_as_it_is() {
        for head in [
            "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(restored(head), head);
        }
    }
}
