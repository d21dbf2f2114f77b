//! The question after a server's health (`grpc.health.v1.Health/Check`), of which two fields are of interest: the service
//! that is asked about, and how it is. Too little of protobuf for a library of it.

/// What is called.
pub const METHOD: &str = "/grpc.health.v1.Health/Check";
/// An answer that is larger is none.
pub const MAX_ANSWER: usize = 1024;

/// `status` of `HealthCheckResponse` as a tag: field 1, a number.
const STATUS: u8 = 0x08;
/// `SERVING`.
const SERVING: u8 = 1;
/// `service` of `HealthCheckRequest` as a tag: field 1, of some length.
const SERVICE: u8 = 0x0a;
/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The message that asks for this service, or with an empty name for the server as a whole; at most 16383 bytes of it.
pub fn question(service: &str) -> Vec<u8> {
    let name = service.get(..service.len().min(0x3fff)).unwrap_or_default().as_bytes();
    let mut message = Vec::with_capacity(name.len() + 3);
    if !name.is_empty() {
        message.push(SERVICE);
        // A number in pieces of seven bits, the lowest first; all but the last say that there are more.
        match u8::try_from(name.len()) {
            Ok(short @ ..0x80) => message.push(short),
            _ => message.extend([(name.len() & 0x7f) as u8 | 0x80, (name.len() >> 7) as u8]),
        }
        message.extend_from_slice(name);
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// Whether the answer says that it serves. Other fields than the first are none that a server of today sends.
pub fn is_serving(answer: &[u8]) -> bool {
    let message = answer.split_at_checked(PREFIX).filter(|(prefix, message)| {
        let length = u32::try_from(message.len()).unwrap_or_default();
        prefix.first() == Some(&0) && prefix.get(1..) == Some(&length.to_be_bytes()[..])
    });
    message.is_some_and(|(_, message)| message.starts_with(&[STATUS, SERVING]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = question(&"a".repeat(200));
        assert_eq!((long.len(), &long[..9]), (5 + 3 + 200, &[0, 0, 0, 0, 203, 0x0a, 0xc8, 1, b'a'][..]));
    }

    #[test]
    fn only_who_says_so_serves() {
        assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
        for answer in
            [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[8, 1], &[]]
        {
            assert!(!is_serving(answer), "{answer:?}");
        }
    }
}
