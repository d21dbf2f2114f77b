//! What has to come back. A bench of hits that are misses, or errors, is worse than none.

/// The longest head of a response, and the most fields in it.
pub(crate) const HEAD: usize = 8192;
const FIELDS: usize = 48;

/// How an edge tells that a response came from its cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// `X-Cache-Status: HIT`.
    CacheStatus,
    /// An `Age`, which the origin does not send.
    Age,
    /// Two numbers in `X-Varnish`.
    Varnish,
    /// It has no cache.
    None,
}

/// Of every response of a load.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// Bytes of body.
    pub(crate) body: usize,
    pub(crate) mark: Mark,
    /// Whether it comes from the cache.
    pub(crate) hit: bool,
}

impl Expected {
    /// The length of the head that `received` begins with, once that is complete; an error says what is wrong with it.
    pub(crate) fn check(&self, received: &[u8]) -> Result<Option<usize>, String> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let head = match response.parse(received) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) if received.len() < HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => return Err("a head that does not end".to_owned()),
            Err(error) => return Err(format!("no response: {error}")),
        };
        let wrong = |what: &str| Err(format!("{what}:\n{}", String::from_utf8_lossy(&received[..head])));
        if response.code != Some(self.status) {
            return wrong(&format!("not status {}", self.status));
        }
        let mut length = None;
        let mut hit = self.mark == Mark::None && self.hit;
        for field in response.headers.iter() {
            match field.name.len() {
                3 if self.mark == Mark::Age && field.name.eq_ignore_ascii_case("Age") => hit = true,
                9 if self.mark == Mark::Varnish && field.name.eq_ignore_ascii_case("X-Varnish") => {
                    hit = field.value.contains(&b' ');
                }
                10 if field.name.eq_ignore_ascii_case("Connection") && field.value.eq_ignore_ascii_case(b"close") => {
                    return wrong("a connection that is not kept");
                }
                14 if self.mark == Mark::CacheStatus && field.name.eq_ignore_ascii_case("X-Cache-Status") => {
                    hit = field.value == b"HIT";
                }
                14 if field.name.eq_ignore_ascii_case("Content-Length") => {
                    length = std::str::from_utf8(field.value).ok().and_then(|value| value.parse::<usize>().ok());
                }
                _ => {}
            }
        }
        if self.status != 304 && length != Some(self.body) {
            return wrong(&format!("not {} bytes", self.body));
        }
        if hit != self.hit {
            return wrong(if self.hit { "not from the cache" } else { "from the cache" });
        }
        Ok(Some(head))
    }

    /// The same of a head that was read; its body's length is for the caller to count.
    pub(crate) fn check_parts(&self, status: u16, fields: &http::HeaderMap) -> Result<(), String> {
        let hit = match self.mark {
            Mark::CacheStatus => fields.get("x-cache-status").is_some_and(|value| value == "HIT"),
            Mark::Age => fields.contains_key("age"),
            Mark::Varnish => fields.get("x-varnish").is_some_and(|value| value.as_bytes().contains(&b' ')),
            Mark::None => self.hit,
        };
        if (status, hit) == (self.status, self.hit) { Ok(()) } else { Err(format!("status {status}, {fields:?}")) }
    }
}
