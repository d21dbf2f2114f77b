//! What makes two requests ask for the same thing.
//!
//! Parts glued with a separator let one request be read as another (`a` + `b/c`, `a/b` + `c`): the way to serve one
//! host's page to the next. Each part is preceded by its length instead, so different parts give different bytes.
//!
//! Clients choose hosts, paths and queries freely, so a table's hash of 64 bits will not do, keyed or not: nobody must find a
//! URL that lands on another's entry. [`super::digest`] has 128 bits and a secret.

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

use super::digest::Digest;
use super::{device, query};

/// What besides scheme, host and path tells requests apart.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// What of the query.
    pub query: query::Params,
    /// One host in place of whatever the client asked for, in the key and for the backend: sites under several names.
    pub host: Option<String>,
    /// Request fields whose values are part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies whose values are part of the key.
    pub cookies: Vec<String>,
    /// Classes of devices, told by `User-Agent`: the first that matches; empty for no such part.
    pub devices: Vec<device::Rule>,
}

impl Params {
    /// What the request adds to the key beyond [`Parts`]; nothing is allocated where there is nothing to add.
    ///
    /// Every value of a field or cookie counts, in the order sent: whichever of two the backend goes by, the key has it.
    pub fn extras(&self, request: &HeaderMap) -> Extras {
        let values = |name| request.get_all(name).iter().map(|v| v.as_bytes().to_vec()).collect();
        let headers = self.headers.iter().map(|name| Extra { name: name.to_string(), values: values(name) });
        let device = (!self.devices.is_empty()).then(|| {
            let class = device::class(&self.devices, request).as_bytes().to_vec();
            Extra { name: "{device}".to_owned(), values: vec![class] }
        });
        let cookies =
            self.cookies.iter().map(|name| Extra { name: format!("{{cookie}}{name}"), values: cookie(request, name) });
        Extras(headers.chain(device).chain(cookies).collect())
    }
}

/// The values of one cookie, in the order sent (RFC 6265 §5.4).
fn cookie(request: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let pairs = request.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    let value = |pair: &[u8]| {
        let end = pair.iter().position(|b| *b == b'=')?;
        (pair[..end].trim_ascii() == name.as_bytes()).then(|| pair[end + 1..].trim_ascii().to_vec())
    };
    pairs.filter_map(value).collect()
}

/// What a request adds to its key beyond [`Parts`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Extras(Vec<Extra>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extra {
    /// Names stand in the key too: after a change of configuration one header's values are not another's.
    name: String,
    values: Vec<Vec<u8>>,
}

/// The parts of a primary key, each already normalised: the key must hold just what is routed by and forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Lower-case host.
    pub host: &'a str,
    /// Its port, unless that is the scheme's own.
    pub port: Option<u16>,
    /// The path as the backend will see it.
    pub path: &'a str,
    /// The query as the backend will see it, after [`query::Params::apply`]; none is not the same as an empty one.
    pub query: Option<&'a str>,
}

/// What a request is for, as it came and as a trusted proxy tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host in normal form, without port.
    pub host: &'a str,
    /// Its port, if one was written.
    pub port: Option<u16>,
    /// `https` if it came by TLS; in its place `X-Forwarded-Proto` of a trusted proxy. It is passed on to the backend, so it
    /// belongs to the key. `None` for `http`.
    pub scheme: Option<&'a str>,
    /// `X-Forwarded-Host` of a trusted proxy, likewise.
    pub told_host: Option<&'a str>,
    /// The path in normal form.
    pub path: &'a str,
    /// The query, after [`query::Params::apply`].
    pub query: Option<&'a str>,
}

impl Asked<'_> {
    /// What `make` makes of the parts, where the route keys by `params`.
    pub fn with_parts<T>(&self, params: Option<&Params>, make: impl FnOnce(&Parts<'_>) -> T) -> T {
        let alias = params.and_then(|params| params.host.as_deref());
        let scheme = self.scheme.unwrap_or("http");
        let own = if scheme == "https" { 443 } else { 80 };
        let (host, port) = match (alias, self.told_host) {
            (Some(alias), _) => (alias, None),
            (None, Some(told)) => (told, None),
            (None, None) => (self.host, self.port.filter(|port| *port != own)),
        };
        make(&Parts { scheme, host, port, path: self.path, query: self.query })
    }
}

impl Parts<'_> {
    /// The hash of the key of these parts: that of [`Key`], without the key.
    pub fn hash(&self, extras: &Extras) -> [u8; 16] {
        let mut digest = Digest::default();
        self.write(extras, &mut |part| digest.update(part));
        digest.finish()
    }

    fn write(&self, extras: &Extras, sink: &mut impl FnMut(&[u8])) {
        write_part(self.scheme.as_bytes(), sink);
        // One part with the port, as it is written in a URL.
        let mut digits = itoa::Buffer::new();
        let (colon, port) = self.port.map_or(("", ""), |port| (":", digits.format(port)));
        sink(&((self.host.len() + colon.len() + port.len()) as u64).to_be_bytes());
        for piece in [self.host, colon, port] {
            sink(piece.as_bytes());
        }
        write_part(self.path.as_bytes(), sink);
        sink(&[u8::from(self.query.is_some())]);
        if let Some(query) = self.query {
            write_part(query.as_bytes(), sink);
        }
        for Extra { name, values } in &extras.0 {
            write_part(name.as_bytes(), sink);
            sink(&(values.len() as u64).to_be_bytes());
            values.iter().for_each(|value| write_part(value, sink));
        }
    }
}

fn write_part(part: &[u8], sink: &mut impl FnMut(&[u8])) {
    sink(&(part.len() as u64).to_be_bytes());
    sink(part);
}

/// A primary key: what is asked for, before any `Vary`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: Vec<u8>,
    hash: [u8; 16],
}

impl Key {
    /// The key of these parts, hashed once.
    pub fn new(parts: &Parts<'_>, extras: &Extras) -> Key {
        let mut bytes = Vec::new();
        parts.write(extras, &mut |part| bytes.extend_from_slice(part));
        let hash = Digest::of(&bytes);
        Key { bytes, hash }
    }

    /// The length-prefixed parts; different for different parts.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The 128-bit hash of the bytes.
    pub fn hash(&self) -> [u8; 16] {
        self.hash
    }
}

/// The key for people to read, as `Cache-Status` tells it (RFC 9211 §2.7): the URL, then what is added, `name=value`.
pub fn shown(parts: &Parts<'_>, extras: &Extras) -> String {
    let query = parts.query.map_or(String::new(), |query| format!("?{query}"));
    let port = parts.port.map_or(String::new(), |port| format!(":{port}"));
    let mut shown = format!("{}://{}{port}{}{query}", parts.scheme, parts.host, parts.path);
    for Extra { name, values } in &extras.0 {
        let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
        shown += &format!(" {name}={}", values.join(","));
    }
    shown
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn key(parts: &Parts<'_>) -> Key {
        Key::new(parts, &Extras::default())
    }

    #[test]
    fn hosts_schemes_and_empty_queries_are_told_apart() {
        let parts = Parts { scheme: "http", host: "a", port: None, path: "/p", query: None };
        let others = [
            Parts { scheme: "https", ..parts },
            Parts { host: "b", ..parts },
            Parts { port: Some(8080), ..parts },
            Parts { path: "/P", ..parts },
            Parts { query: Some(""), ..parts },
        ];
        for other in others {
            assert_ne!(key(&parts), key(&other), "{other:?}");
        }
    }

    #[test]
    fn a_port_belongs_to_its_host_as_in_a_url() {
        let parts = Parts { scheme: "http", host: "a", port: Some(8080), path: "/p", query: None };
        assert_eq!(key(&parts), key(&Parts { host: "a:8080", port: None, ..parts }));
    }

    fn request(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn every_value_of_a_named_field_or_cookie_counts() {
        let params = Params {
            headers: vec![HeaderName::from_static("x-tenant")],
            cookies: vec!["cur".into()],
            ..Params::default()
        };
        let parts = Parts { scheme: "http", host: "a", port: None, path: "/", query: None };
        let all = [
            &[][..],
            &[("x-tenant", "")],
            &[("x-tenant", "a")],
            &[("x-tenant", "a"), ("x-tenant", "b")],
            &[("x-tenant", "b"), ("x-tenant", "a")],
            &[("x-tenant", "a,b")],
            &[("cookie", "cur=a")],
            &[("cookie", "cur=")],
            &[("cookie", "cur=a; cur=b")],
            &[("x-tenant", "a"), ("cookie", "cur=a")],
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                let of = |fields| Key::new(&parts, &params.extras(&request(fields)));
                assert_eq!(of(a) == of(b), i == j, "{a:?} {b:?}");
            }
        }
        let of = |fields: &[(&str, &str)]| Key::new(&parts, &params.extras(&request(fields)));
        assert_eq!(of(&[("cookie", "x=1; cur=EUR ;y=2"), ("z", "1")]), of(&[("cookie", "a=b"), ("cookie", "cur=EUR")]));
        assert_eq!(of(&[("cookie", "xcur=a; cur")]), of(&[]));
    }

    #[test]
    fn a_key_can_be_read() {
        let params = Params { cookies: vec!["cur".into()], ..Params::default() };
        let extras = params.extras(&request(&[("cookie", "cur=EUR")]));
        let parts = Parts { scheme: "http", host: "a", port: None, path: "/p", query: Some("x=1") };
        assert_eq!(shown(&parts, &extras), "http://a/p?x=1 {cookie}cur=EUR");
    }

    proptest! {
        /// The same letters, cut into parts at different places: what a separator would mix up.
        #[test]
        fn different_requests_have_different_keys(
            letters in "[a/?&:|]{0,8}", cuts in proptest::array::uniform8(0usize..9), queries in any::<[bool; 2]>(),
            headers in any::<[bool; 2]>(),
        ) {
            let params = Params { headers: vec![HeaderName::from_static("x")], ..Params::default() };
            let cut = |cuts: &[usize], query: bool, header: bool| {
                let mut at: Vec<usize> = cuts.iter().map(|i| (*i).min(letters.len())).collect();
                at.sort_unstable();
                let map = if header { request(&[("x", &letters[at[3]..])]) } else { HeaderMap::new() };
                let parts = Parts {
                    scheme: &letters[..at[0]],
                    host: &letters[at[0]..at[1]],
                    port: None,
                    path: &letters[at[1]..at[2]],
                    query: query.then_some(&letters[at[2]..at[3]]),
                };
                (parts, params.extras(&map))
            };
            let a = cut(&cuts[..4], queries[0], headers[0]);
            let b = cut(&cuts[4..], queries[1], headers[1]);
            let (x, y) = (Key::new(&a.0, &a.1), Key::new(&b.0, &b.1));
            prop_assert_eq!(a == b, x.bytes() == y.bytes());
            prop_assert_eq!(a == b, x.hash() == y.hash());
            prop_assert_eq!(a.0.hash(&a.1), x.hash());
        }
    }
}
