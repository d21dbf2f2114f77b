//! Which variant of a resource a request selects. (RFC 9111 §4.1)
//!
//! A variant is told by the values of the request fields that the response's `Vary` names. Compared byte by byte they
//! split one variant into as many as there are spellings, which is how `Vary: Accept-Encoding` fills a cache with
//! copies; so whitespace and line breaks do not count, and `Accept-Encoding` and `Accept-Language` may be reduced to what
//! they come to. What is reduced here is also what goes upstream ([`Params::reduced`]): the origin must not choose by
//! what the cache does not see.

use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName, VARY};

use super::codings::canonical;
use super::digest::Digest;
use super::languages::preferred;
use super::list;
use super::storable::NotStorable;

/// How a route treats `Vary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Reduce `Accept-Encoding` to what the usual codings make of it, so that clients with different spellings share variants.
    pub normalise_accept_encoding: bool,
    /// The languages the site has, best first, to reduce `Accept-Language` to one of; empty to leave it as it is.
    pub languages: Vec<String>,
    /// Variants kept per key.
    pub max_variants: usize,
}

impl Default for Params {
    /// Nothing is normalised unless asked for; sixteen variants are more than honest `Vary` makes.
    fn default() -> Params {
        Params { normalise_accept_encoding: false, languages: Vec::new(), max_variants: 16 }
    }
}

impl Params {
    /// What the request's field of this name is to be, for selecting a variant and upstream alike.
    ///
    /// `Accept-Encoding` is left alone if it forbids `identity` and names no coding known here. `Accept-Language`
    /// goes when it accepts none of the site's languages: then the origin shall choose as if nothing was said.
    pub fn reduced(&self, name: &HeaderName, request: &HeaderMap) -> Reduced<'_> {
        // An absent field means anything goes, which is not the same as an empty one.
        let Some(_) = request.get(name) else { return Reduced::AsIs };
        if name == ACCEPT_ENCODING && self.normalise_accept_encoding {
            return canonical(request).map_or(Reduced::AsIs, Reduced::To);
        }
        if name == ACCEPT_LANGUAGE && !self.languages.is_empty() {
            return preferred(request, &self.languages).map_or(Reduced::Absent, Reduced::To);
        }
        Reduced::AsIs
    }

    /// May one more variant be stored beside `kept` others of its key? Without a bound, a `Vary` on what every client
    /// sends differently (`Cookie`, `User-Agent`) turns one page into as many copies as there are clients.
    pub fn admit_variant(&self, kept: usize) -> Result<(), NotStorable> {
        if kept < self.max_variants { Ok(()) } else { Err(NotStorable::TooManyVariants) }
    }
}

/// The fields that [`Params::reduced`] may change.
pub const REDUCIBLE: [HeaderName; 2] = [ACCEPT_ENCODING, ACCEPT_LANGUAGE];

/// What a selecting request field comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced<'a> {
    /// What the client sent, if anything.
    AsIs,
    /// This value.
    To(&'a str),
    /// No such field.
    Absent,
}

/// What a response's `Vary` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// There is one variant.
    None,
    /// Never reusable: a `*` anywhere, on any line, or a member that is no field name.
    Star,
    /// The named request fields tell variants apart.
    Fields(Fields),
}

/// Names of request fields: at least one, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Box<[HeaderName]>);

impl Fields {
    /// The names, lower-case, sorted, each once.
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }
}

impl From<&HeaderMap> for Vary {
    fn from(response: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for member in list::all_members(response, &VARY) {
            match HeaderName::from_bytes(member) {
                // `*` is a valid field name by its letters.
                Ok(name) if name != "*" => names.push(name),
                _ => return Vary::Star,
            }
        }
        if names.is_empty() {
            return Vary::None;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Vary::Fields(Fields(names.into_boxed_slice()))
    }
}

/// What tells one variant from another: a 128-bit hash ([`super::digest`]) of the selecting fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variance(pub [u8; 16]);

impl Variance {
    /// The variant that a request selects. Nothing is allocated.
    ///
    /// The same whether the fields have already been replaced by [`Params::reduced`] or not.
    pub fn new(params: &Params, fields: &Fields, request: &HeaderMap) -> Variance {
        let mut digest = Digest::default();
        write(params, fields, request, &mut |bytes| digest.update(bytes));
        Variance(digest.finish())
    }
}

/// Per field: its name, NUL, then nothing if it is absent, or `=` and its value, then NUL. Neither names nor values
/// can hold a NUL, so no two selections give the same bytes.
fn write(params: &Params, fields: &Fields, request: &HeaderMap, sink: &mut impl FnMut(&[u8])) {
    for name in fields.names() {
        sink(name.as_str().as_bytes());
        sink(b"\0");
        let mut lines = request.get_all(name).iter().peekable();
        match params.reduced(name, request) {
            Reduced::To(value) => {
                sink(b"=");
                write_spaceless(value.as_bytes(), sink);
            }
            Reduced::AsIs if lines.peek().is_some() => {
                sink(b"=");
                for (i, line) in lines.enumerate() {
                    if i > 0 {
                        sink(b",");
                    }
                    write_spaceless(line.as_bytes(), sink);
                }
            }
            Reduced::AsIs | Reduced::Absent => {}
        }
        sink(b"\0");
    }
}

/// A field line without the whitespace at its ends and around its commas; inside quotes nothing is touched.
fn write_spaceless(line: &[u8], sink: &mut impl FnMut(&[u8])) {
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    for (i, b) in line.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                sink(line[start..i].trim_ascii());
                sink(b",");
                start = i + 1;
            }
            _ => {}
        }
    }
    sink(line[start..].trim_ascii());
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PARAMS: Params = Params { normalise_accept_encoding: true, languages: Vec::new(), max_variants: 2 };
    const RAW: Params = Params { normalise_accept_encoding: false, languages: Vec::new(), max_variants: 2 };

    fn in_languages() -> Params {
        Params { languages: vec!["de".into(), "en-GB".into()], ..RAW }
    }

    fn map<N: AsRef<str>, V: AsRef<str>>(fields: &[(N, V)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_ref().as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value.as_ref()).unwrap());
        }
        map
    }

    fn fields(names: &str) -> Fields {
        match Vary::from(&map(&[("vary", names)])) {
            Vary::Fields(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    fn bytes(params: &Params, names: &str, request: &HeaderMap) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(params, &fields(names), request, &mut |b| bytes.extend_from_slice(b));
        bytes
    }

    fn same(names: &str, a: &[(&str, &str)], b: &[(&str, &str)]) -> bool {
        Variance::new(&PARAMS, &fields(names), &map(a)) == Variance::new(&PARAMS, &fields(names), &map(b))
    }

    #[test]
    fn a_star_anywhere_on_any_line_never_matches_rfc9111_4_1() {
        for lines in [&["*"][..], &["*, *"], &["*", "*"], &[", *"], &["", "*"], &["*, foo"], &["foo, *"], &["a b"]] {
            let lines: Vec<_> = lines.iter().map(|l| ("vary", *l)).collect();
            assert_eq!(Vary::from(&map(&lines)), Vary::Star, "{lines:?}");
        }
    }

    #[test]
    fn names_are_lower_case_sorted_and_single() {
        let vary = Vary::from(&map(&[("vary", "Foo,accept"), ("vary", ""), ("vary", " ACCEPT ,, Bar")]));
        let Vary::Fields(fields) = vary else { panic!("{vary:?}") };
        assert_eq!(fields.names().iter().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept", "bar", "foo"]);
        assert_eq!(Vary::from(&map(&[("vary", " , ")])), Vary::None);
        assert_eq!(Vary::from(&HeaderMap::new()), Vary::None);
    }

    #[test]
    fn whitespace_and_line_breaks_do_not_tell_variants_apart_rfc9111_4_1() {
        assert!(same("foo", &[("foo", "1,2")], &[("foo", " 1 , 2 ")]));
        assert!(same("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(!same("foo", &[("foo", "\"1,2\"")], &[("foo", "\"1, 2\"")]));
        assert!(!same("foo", &[("foo", "\"\\\"1,2\"")], &[("foo", "\"\\\"1, 2\"")]));
        assert!(!same("foo", &[("foo", "1 2")], &[("foo", "12")]));
        assert!(!same("foo", &[("foo", "a")], &[("foo", "A")]));
    }

    #[test]
    fn an_absent_field_matches_only_an_absent_one_rfc9111_4_1() {
        assert!(same("foo", &[], &[("bar", "1")]));
        assert!(!same("foo", &[], &[("foo", "")]));
        assert!(!same("a, b", &[("a", "1")], &[("b", "1")]));
        assert!(!same("accept-encoding", &[], &[("accept-encoding", "")]));
    }

    #[test]
    fn accept_encoding_is_reduced_only_where_it_can_be_rfc9110_12_5_3() {
        let request = map(&[("accept-encoding", "gzip, deflate, br")]);
        assert_eq!(PARAMS.reduced(&ACCEPT_ENCODING, &request), Reduced::To("br, gzip"));
        assert_eq!(RAW.reduced(&ACCEPT_ENCODING, &request), Reduced::AsIs);
        assert_eq!(PARAMS.reduced(&ACCEPT_ENCODING, &HeaderMap::new()), Reduced::AsIs);
        // Nothing would be acceptable: the origin shall see what the client said.
        let nothing = map(&[("accept-encoding", "deflate, identity;q=0")]);
        assert_eq!(PARAMS.reduced(&ACCEPT_ENCODING, &nothing), Reduced::AsIs);
    }

    #[test]
    fn accept_language_is_reduced_to_a_language_of_the_site() {
        let params = in_languages();
        let reduced = |value| params.reduced(&ACCEPT_LANGUAGE, &map(&[("accept-language", value)]));
        assert_eq!(reduced("en-US;q=0.5, en"), Reduced::To("en-GB"));
        assert_eq!(reduced("fr"), Reduced::Absent);
        let variance = |value| Variance::new(&params, &fields("accept-language"), &map(&[("accept-language", value)]));
        assert_eq!(variance("en, fr"), variance("fr;q=0.1, EN-gb"));
        assert_ne!(variance("en"), variance("de"));
        assert_eq!(variance("fr"), Variance::new(&params, &fields("accept-language"), &HeaderMap::new()));
    }

    #[test]
    fn what_is_sent_upstream_selects_the_same_variant() {
        let languages = in_languages();
        let values = ["gzip;q=0.5,br", "", "*", "*;q=0,zstd", "deflate, identity;q=0", "en", "fr;q=1, de", "it"];
        for value in values {
            for (params, name) in [(&PARAMS, ACCEPT_ENCODING), (&languages, ACCEPT_LANGUAGE)] {
                let mut request = map(&[(name.as_str(), value)]);
                let before = Variance::new(params, &fields(name.as_str()), &request);
                match params.reduced(&name, &request) {
                    Reduced::To(value) => drop(request.insert(&name, HeaderValue::from_str(value).unwrap())),
                    Reduced::Absent => drop(request.remove(&name)),
                    Reduced::AsIs => {}
                }
                assert_eq!(Variance::new(params, &fields(name.as_str()), &request), before, "{name} {value}");
            }
        }
    }

    #[test]
    fn variants_are_bounded() {
        assert_eq!(PARAMS.admit_variant(1), Ok(()));
        assert_eq!(PARAMS.admit_variant(2), Err(NotStorable::TooManyVariants));
    }

    proptest! {
        /// Two requests give the same bytes only if the selecting fields have the same values.
        #[test]
        fn no_two_selections_share_their_bytes(
            a in proptest::collection::vec(("[ab]", "[ab=]{0,3}"), 0..4), b in proptest::collection::vec(("[ab]", "[ab=]{0,3}"), 0..4),
        ) {
            let values = |list: &[(String, String)], name: &str| {
                list.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>().join(",")
            };
            let absent = |list: &[(String, String)], name: &str| !list.iter().any(|(n, _)| n == name);
            let equal = ["a", "b"].iter().all(|n| values(&a, n) == values(&b, n) && absent(&a, n) == absent(&b, n));
            prop_assert_eq!(bytes(&PARAMS, "a, b", &map(&a)) == bytes(&PARAMS, "a, b", &map(&b)), equal);
        }

        #[test]
        fn no_bytes_panic(vary in proptest::collection::vec(any::<u8>(), 0..20), value in proptest::collection::vec(any::<u8>(), 0..30)) {
            if let (Ok(vary), Ok(value)) = (HeaderValue::from_bytes(&vary), HeaderValue::from_bytes(&value)) {
                let response: HeaderMap = [(VARY, vary)].into_iter().collect();
                let request: HeaderMap = [(ACCEPT_ENCODING, value)].into_iter().collect();
                let _ = (Vary::from(&response), PARAMS.reduced(&ACCEPT_ENCODING, &request));
                Variance::new(&PARAMS, &fields("accept-encoding"), &request);
                Variance::new(&RAW, &fields("accept-encoding"), &request);
            }
        }
    }
}
