//! Header fields as they came: in order, repeated, with their spelling.

use std::fmt;

/// A header section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Fields as httparse found them.
    pub fn parsed(fields: &[httparse::Header<'_>]) -> Headers {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Headers(fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// Every value of `name`, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// All lines of `name` as one list.
    pub fn joined(&self, name: &str) -> Option<String> {
        let all = self.all(name);
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Whether a list field holds `token` (any case).
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    }

    /// The members of a structured list (RFC 8941): `Cache-Status`, `Proxy-Status`.
    pub fn members(&self, name: &str) -> Vec<Member> {
        let Some(list) = self.joined(name) else { return Vec::new() };
        split_outside_quotes(&list, ',').iter().map(|member| Member::parse(member)).collect()
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}

/// One member of a structured list: who speaks, and what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member's own token or string.
    pub name: String,
    /// Parameters in order; a bare one is true, quotes are removed.
    pub params: Vec<(String, String)>,
}

impl Member {
    fn parse(member: &str) -> Member {
        let mut parts = split_outside_quotes(member, ';').into_iter();
        let name = unquoted(&parts.next().unwrap_or_default());
        let params = parts.map(|part| match part.split_once('=') {
            Some((key, value)) => (key.trim().to_owned(), unquoted(value)),
            None => (part.trim().to_owned(), "?1".to_owned()),
        });
        Member { name, params: params.collect() }
    }

    /// A parameter's value; a bare parameter is `?1`.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a boolean parameter is there and true.
    pub fn is(&self, key: &str) -> bool {
        self.param(key) == Some("?1")
    }

    /// `fwd`: why the request went upstream.
    pub fn fwd(&self) -> Option<&str> {
        self.param("fwd")
    }

    /// `ttl` in seconds, negative when stale.
    pub fn ttl(&self) -> Option<i64> {
        self.param("ttl").map(|ttl| ttl.parse().unwrap_or_else(|_| panic!("ttl is not an integer: {self:?}")))
    }
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_owned(),
    }
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in text.chars() {
        if c == separator && !quoted {
            parts.push(String::new());
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        parts.last_mut().expect("there is always one part").push(c);
    }
    parts
}
