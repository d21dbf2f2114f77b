//! In which coding a response goes to a client. (RFC 9110 §8.4, §12.5.3)
//!
//! One form of a response comes from the origin; others can be made of it, one for each coding that clients read. The
//! origin's own goes to everyone who can read it, since it is what the origin meant, and often better compressed than there
//! is time for here. What comes without a coding is compressed, what a client cannot read is decoded for it.
//!
//! A form that was made here has other bytes, so it is another representation: with a weak tag (§8.8.1), without the fields that
//! speak of its bytes, and told apart by `Vary`. A part of a body is never made into another form, and a client that asks
//! for a part gets one of the origin's form wherever it can read that: parts of forms made at different times do not fit together.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
};
use http::{HeaderMap, StatusCode};

use super::codings::{Accepted, Coding};
use super::directives::no_transform;
use super::etag::{EntityTag, EntityTags};
use super::list;

/// What a route compresses, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// What is offered, best first among what a client wants equally; without any nothing is compressed.
    pub codings: Vec<Coding>,
    /// Of which media types.
    pub types: Types,
    /// Smaller bodies, in bytes, are left as they are; one whose length is not known is taken for a larger one.
    pub min_size: u64,
    /// How hard it is tried.
    pub level: Level,
    /// Whether what a client cannot read is decoded for it.
    pub decompress: bool,
    /// The largest body that comes of decoding, in bytes.
    pub max_decompressed: u64,
}

impl Default for Params {
    /// zstd first, which costs least for what it saves; a body below one packet saves nothing.
    fn default() -> Params {
        Params {
            codings: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
            types: Types::default(),
            min_size: 1024,
            level: Level::Default,
            decompress: true,
            max_decompressed: 64 << 20,
        }
    }
}

/// How hard a compressor tries; what that is in each coding's own levels is for the compressors to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// As little time as possible.
    Fast,
    /// What is worth its time for pages that are made anew for each client.
    #[default]
    Default,
    /// For what is compressed once and sent often.
    Best,
}

/// Media types, as `text/html`, `text/*` or `application/*+json`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(Vec<String>);

impl Types {
    /// What a site's text comes as.
    pub const USUAL: [&str; 13] = [
        "text/*",
        "application/json",
        "application/*+json",
        "application/javascript",
        "application/x-javascript",
        "application/xml",
        "application/*+xml",
        "application/wasm",
        "application/vnd.ms-fontobject",
        "font/otf",
        "font/ttf",
        "image/svg+xml",
        "image/x-icon",
    ];

    /// These; `None` if one is no media type with at most one `*`.
    pub fn parse(texts: &[&str]) -> Option<Types> {
        let is_type = |text: &str| {
            let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
            text.split_once('/').is_some_and(|(kind, rest)| is_token(kind) && is_token(rest))
                && text.bytes().filter(|b| *b == b'*').count() <= 1
        };
        texts
            .iter()
            .all(|text| is_type(text))
            .then(|| Types(texts.iter().map(|text| text.to_ascii_lowercase()).collect()))
    }

    /// As they were written, in lower case.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Whether a `Content-Type` is of one of them. `text/event-stream` is only if it is named: events are small and urgent.
    fn has(&self, content_type: &HeaderValue) -> bool {
        let essence = content_type.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let begins =
            |start: &str| essence.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()));
        let ends = |end: &str| {
            let at = essence.len().checked_sub(end.len());
            at.is_some_and(|at| essence[at..].eq_ignore_ascii_case(end.as_bytes()))
        };
        self.0.iter().any(|known| match known.split_once('*') {
            None => essence.eq_ignore_ascii_case(known.as_bytes()),
            Some((start, end)) => {
                essence.len() >= start.len() + end.len()
                    && begins(start)
                    && ends(end)
                    && !essence.eq_ignore_ascii_case(b"text/event-stream")
            }
        })
    }
}

impl Default for Types {
    fn default() -> Types {
        Types(Types::USUAL.map(str::to_owned).to_vec())
    }
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// What of a request decides on a coding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Its `Accept-Encoding`.
    pub accepted: Accepted,
    /// Whether it asks for a part.
    pub wants_part: bool,
    /// Whether it forbids to change what it is answered (RFC 9111 §5.2.1.6).
    pub no_transform: bool,
}

impl Asked {
    /// What these fields of a request ask for.
    pub fn of(request: &HeaderMap) -> Asked {
        Asked {
            accepted: Accepted::of(request.get_all(ACCEPT_ENCODING).iter().map(|line| line.as_bytes())),
            wants_part: request.contains_key(RANGE),
            no_transform: no_transform(request),
        }
    }
}

/// What of a response decides on a coding.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Its status; of a 304 that of the response it stands for.
    pub status: StatusCode,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// The length of its body, if it is known.
    pub length: Option<u64>,
    /// Whether it is kept as one that is decoded for who cannot read it ([`is_for_all`]).
    pub for_all: bool,
}

/// In which coding a response goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// As it came.
    AsIs {
        /// Whether others get another form of it.
        varies: bool,
    },
    /// In another form: decoded, compressed, or both.
    Recode(Recode),
    /// The client cannot read it, and it may not be changed: it is none to answer this client with.
    Unreadable,
}

/// What is made of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recode {
    /// The coding it has.
    pub from: Option<Coding>,
    /// The coding it is to have; another one.
    pub to: Option<Coding>,
}

/// Decides on the form of a response. `params` are those of the route, if it has any.
pub fn plan(params: Option<&Params>, asked: &Asked, said: &Said<'_>) -> Plan {
    let as_is = |varies| Plan::AsIs { varies };
    let Asked { accepted, .. } = asked;
    let makes = params.filter(|params| params.is_worth_it(said));
    let Some(from) = transformable(said) else {
        // A 304 may have forbidden it since it was stored.
        let reads = |coding: &[u8]| Coding::of(coding).is_some_and(|coding| accepted.weight(coding) > 0);
        if said.for_all && !codings(said.headers).all(reads) {
            return Plan::Unreadable;
        }
        return as_is(said.for_all || (makes.is_some() && is_part_of_transformable(said)));
    };
    let best = makes.and_then(|params| accepted.best(&params.codings));
    let Some(from) = from else {
        // A client that wants a part has perhaps others of the same form.
        let is_left = asked.no_transform || (asked.wants_part && accepted.takes_identity());
        return match best.filter(|_| !is_left) {
            Some(best) => Plan::Recode(Recode { from: None, to: Some(best) }),
            None => as_is(said.for_all || makes.is_some()),
        };
    };
    let decodes = said.for_all || params.is_some_and(|params| params.decompress);
    if accepted.weight(from) > 0 {
        return as_is(decodes);
    }
    let to = if accepted.takes_identity() || best.is_some() { Some(best) } else { None };
    match to {
        Some(to) if decodes && !asked.no_transform => Plan::Recode(Recode { from: Some(from), to }),
        _ if said.for_all => Plan::Unreadable,
        _ => as_is(decodes),
    }
}

impl Params {
    /// Whether such a response would be compressed for who reads a coding.
    fn is_worth_it(&self, said: &Said<'_>) -> bool {
        // The length of a body that is coded already, or of a part, says nothing of that of the whole.
        let is_whole = said.status != StatusCode::PARTIAL_CONTENT && codings(said.headers).next().is_none();
        !self.codings.is_empty()
            && said.length.filter(|_| is_whole).is_none_or(|length| length >= self.min_size)
            && said.headers.get(CONTENT_TYPE).is_some_and(|value| self.types.has(value))
    }
}

/// Whether a response is a part of one that has other forms.
fn is_part_of_transformable(said: &Said<'_>) -> bool {
    said.status == StatusCode::PARTIAL_CONTENT && codings(said.headers).next().is_none() && !no_transform(said.headers)
}

/// The coding of a body that may be changed; `None` if it may not be. That leaves out what has no whole body (RFC 9110 §15.3.5,
/// §15.3.6, §15.3.7), what its origin wants left alone (RFC 9111 §5.2.2.6), and codings that are not known here.
fn transformable(said: &Said<'_>) -> Option<Option<Coding>> {
    if said.status.is_informational()
        || matches!(said.status.as_u16(), 204..=206 | 304)
        || said.headers.contains_key(CONTENT_RANGE)
        || no_transform(said.headers)
    {
        return None;
    }
    let mut codings = codings(said.headers);
    match (codings.next(), codings.next()) {
        (None, _) => Some(None),
        (Some(coding), None) => Coding::of(coding).map(Some),
        (Some(_), Some(_)) => None,
    }
}

/// The names of a body's codings, in the order applied.
fn codings(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    list::all_members(headers, &CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

/// Whether a response that is about to be stored can answer clients of any `Accept-Encoding`, since it can be made into what
/// each of them reads: then it need not be kept once for each.
pub fn is_for_all(params: Option<&Params>, status: StatusCode, headers: &HeaderMap) -> bool {
    params.is_some_and(|params| params.decompress) && is_transformable(status, headers)
}

/// Whether there may be other forms of a response than the origin's.
pub fn is_transformable(status: StatusCode, headers: &HeaderMap) -> bool {
    transformable(&Said { status, headers, length: None, for_all: false }).is_some()
}

/// The word for the coding that a response goes out in: its name, or `other`; `None` if it has none.
pub fn word(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = codings(headers);
    let first = codings.next()?;
    let known = Coding::of(first).filter(|_| codings.next().is_none());
    Some(known.map_or("other", Coding::as_str))
}

/// Makes the fields of a response those of its form in `coding`. `length` is that of the new body, if it is known.
pub fn describe(headers: &mut HeaderMap, coding: Option<Coding>, length: Option<u64>) {
    match coding {
        Some(coding) => headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str())),
        None => headers.remove(CONTENT_ENCODING),
    };
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    weaken(headers);
}

/// Fields that hold for the bytes of one form alone (RFC 9530, RFC 1864). Of a form, parts are rarely to be had.
const OF_THE_BYTES: [HeaderName; 6] = [
    ACCEPT_RANGES,
    CONTENT_LENGTH,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Makes a strong `ETag` a weak one (RFC 9110 §8.8.1): it names what the forms have in common.
pub fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).map(HeaderValue::as_bytes) else { return };
    if EntityTag::parse(tag).weak {
        return;
    }
    let weak = [b"W/", tag.trim_ascii()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) => headers.insert(ETAG, weak),
        Err(_) => headers.remove(ETAG),
    };
}

/// Says that the form depends on `Accept-Encoding` (RFC 9110 §12.5.5), unless that is said already.
pub fn vary(headers: &mut HeaderMap) {
    if !is_varied(headers) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Whether [`vary`] would change nothing.
pub fn is_varied(headers: &HeaderMap) -> bool {
    list::all_members(headers, &VARY)
        .any(|member| member == b"*" || member.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes()))
}

/// Takes `Accept-Encoding` out of the `Vary` of a response to be stored. Whether it was in it.
pub fn unvary(headers: &mut HeaderMap) -> bool {
    let is_ours = |member: &&[u8]| member.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes());
    if !list::all_members(headers, &VARY).any(|member| is_ours(&member)) {
        return false;
    }
    let others: Vec<&[u8]> = list::all_members(headers, &VARY).filter(|member| !is_ours(member)).collect();
    match HeaderValue::from_bytes(&others.join(&b", "[..])) {
        Ok(others) if !others.is_empty() => drop(headers.insert(VARY, others)),
        _ => drop(headers.remove(VARY)),
    }
    true
}

/// Whether a 304 is about a form that was made here: the client names weakly what the origin names strongly. To tell such a
/// client the strong tag would make it believe that its bytes are the origin's.
pub fn is_of_our_form(request: &HeaderMap, not_modified: &HeaderMap) -> bool {
    let Some(tag) = not_modified.get(ETAG).map(|tag| EntityTag::parse(tag.as_bytes())).filter(|tag| !tag.weak) else {
        return false;
    };
    let lines = request.get_all(IF_NONE_MATCH).iter();
    let mut tags =
        lines.flat_map(|line| EntityTags(line.as_bytes())).filter(|named| named.weakly_equals(tag)).peekable();
    tags.peek().is_some() && tags.all(|named| named.weak)
}

/// Whether a `Range` is to be left out of account, since its condition cannot tell the forms apart: they share a `Last-Modified`,
/// and a client that reads codings may have begun with a form made here (RFC 9110 §8.8.2.2, §13.1.5).
pub fn is_range_ambiguous(params: Option<&Params>, request: &HeaderMap) -> bool {
    let is_date = |value: &HeaderValue| !value.as_bytes().iter().take(3).any(|b| *b == b'"');
    let Some(params) = params.filter(|_| request.get(IF_RANGE).is_some_and(is_date)) else { return false };
    Asked::of(request).accepted.best(&params.codings).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn asked(accept_encoding: &'static str) -> Asked {
        Asked::of(&headers(&[("accept-encoding", accept_encoding)]))
    }

    fn planned(asked: &Asked, fields: &[(&'static str, &'static str)]) -> Plan {
        of(asked, fields, Some(5000), false)
    }

    fn of(asked: &Asked, fields: &[(&'static str, &'static str)], length: Option<u64>, for_all: bool) -> Plan {
        let headers = headers(fields);
        plan(Some(&Params::default()), asked, &Said { status: StatusCode::OK, headers: &headers, length, for_all })
    }

    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
    const AS_IS: Plan = Plan::AsIs { varies: false };
    const AS_IS_FOR_THIS_ONE: Plan = Plan::AsIs { varies: true };

    fn recode(from: Option<Coding>, to: Option<Coding>) -> Plan {
        Plan::Recode(Recode { from, to })
    }

    #[test]
    fn text_is_compressed_in_what_the_client_reads() {
        assert_eq!(planned(&asked("gzip, br"), &[HTML]), recode(None, Some(Coding::Br)));
        assert_eq!(planned(&asked("gzip, br;q=0.5"), &[HTML]), recode(None, Some(Coding::Gzip)));
        assert_eq!(planned(&asked("deflate"), &[HTML]), AS_IS_FOR_THIS_ONE);
        assert_eq!(planned(&Asked::default(), &[HTML]), AS_IS_FOR_THIS_ONE);
        assert_eq!(
            planned(&asked("gzip"), &[HTML, ("content-encoding", "identity")]),
            recode(None, Some(Coding::Gzip))
        );
    }

    #[test]
    fn what_is_small_or_no_text_is_left_alone() {
        assert_eq!(of(&asked("gzip"), &[HTML], Some(1023), false), AS_IS);
        assert_eq!(of(&asked("gzip"), &[HTML], Some(1024), false), recode(None, Some(Coding::Gzip)));
        assert_eq!(of(&asked("gzip"), &[HTML], None, false), recode(None, Some(Coding::Gzip)));
        for kind in ["image/png", "text/event-stream", "application/zip", "text", ""] {
            assert_eq!(planned(&asked("gzip"), &[("content-type", kind)]), AS_IS, "{kind}");
        }
        assert_eq!(planned(&asked("gzip"), &[]), AS_IS);
        for kind in ["TEXT/css", "application/ld+json;x=y", "image/svg+xml", "application/wasm"] {
            assert_eq!(planned(&asked("gzip"), &[("content-type", kind)]), recode(None, Some(Coding::Gzip)), "{kind}");
        }
    }

    #[test]
    fn events_are_compressed_where_they_are_named() {
        let params = Params { types: Types::parse(&["text/event-stream"]).unwrap(), ..Params::default() };
        let headers = headers(&[("content-type", "text/event-stream")]);
        let said = Said { status: StatusCode::OK, headers: &headers, length: None, for_all: false };
        assert_eq!(plan(Some(&params), &asked("br"), &said), recode(None, Some(Coding::Br)));
    }

    #[test]
    fn what_may_not_be_changed_is_not() {
        let no = ("cache-control", "max-age=1, No-Transform");
        assert_eq!(planned(&asked("gzip"), &[HTML, no]), AS_IS);
        assert_eq!(planned(&asked("identity"), &[HTML, no, ("content-encoding", "gzip")]), AS_IS);
        let refuses = Asked { no_transform: true, ..asked("gzip") };
        assert_eq!(planned(&refuses, &[HTML]), AS_IS_FOR_THIS_ONE);
        assert_eq!(planned(&asked("gzip"), &[HTML, ("content-range", "bytes 0-1/2")]), AS_IS);
        assert_eq!(planned(&asked("gzip"), &[HTML, ("content-encoding", "dcb")]), AS_IS);
        assert_eq!(planned(&asked("gzip"), &[HTML, ("content-encoding", "br, gzip")]), AS_IS);
        for status in [204, 205, 206, 304] {
            let (headers, status) = (headers(&[HTML]), StatusCode::from_u16(status).unwrap());
            let said = Said { status, headers: &headers, length: Some(5000), for_all: false };
            let varies = status == StatusCode::PARTIAL_CONTENT;
            assert_eq!(plan(Some(&Params::default()), &asked("gzip"), &said), Plan::AsIs { varies });
        }
    }

    #[test]
    fn what_the_origin_has_coded_goes_to_who_reads_it_and_is_decoded_for_others() {
        let gzip = ("content-encoding", "gzip");
        assert_eq!(planned(&asked("br, gzip;q=0.1"), &[HTML, gzip]), AS_IS_FOR_THIS_ONE);
        assert_eq!(planned(&asked("br"), &[HTML, gzip]), recode(Some(Coding::Gzip), Some(Coding::Br)));
        assert_eq!(planned(&asked(""), &[HTML, gzip]), recode(Some(Coding::Gzip), None));
        assert_eq!(planned(&asked("br"), &[("content-type", "image/png"), gzip]), recode(Some(Coding::Gzip), None));
        let params = Params { decompress: false, ..Params::default() };
        let headers = headers(&[HTML, gzip]);
        let said = |for_all| Said { status: StatusCode::OK, headers: &headers, length: None, for_all };
        assert_eq!(plan(Some(&params), &asked("br"), &said(false)), AS_IS);
        assert_eq!(plan(None, &asked(""), &said(true)), recode(Some(Coding::Gzip), None), "it was stored for all");
    }

    #[test]
    fn what_is_kept_for_all_is_given_to_nobody_who_cannot_read_it() {
        let no = ("cache-control", "no-transform");
        let brotli = [HTML, no, ("content-encoding", "br")];
        assert_eq!(of(&asked("gzip"), &brotli, Some(9000), true), Plan::Unreadable);
        assert_eq!(of(&asked("br"), &brotli, Some(9000), true), AS_IS_FOR_THIS_ONE);
        let refuses = Asked { no_transform: true, ..asked("gzip") };
        assert_eq!(of(&refuses, &[HTML, ("content-encoding", "br")], Some(9000), true), Plan::Unreadable);
    }

    #[test]
    fn who_wants_a_part_gets_it_of_the_origins_form() {
        let part = |accept| Asked { wants_part: true, ..asked(accept) };
        assert_eq!(planned(&part("gzip"), &[HTML]), AS_IS_FOR_THIS_ONE);
        assert_eq!(planned(&part("gzip, identity;q=0"), &[HTML]), recode(None, Some(Coding::Gzip)));
        assert_eq!(planned(&part("gzip"), &[HTML, ("content-encoding", "gzip")]), AS_IS_FOR_THIS_ONE);
        assert_eq!(planned(&part(""), &[HTML, ("content-encoding", "gzip")]), recode(Some(Coding::Gzip), None));
    }

    #[test]
    fn a_form_has_no_fields_of_the_origins_bytes() {
        let mut fields = headers(&[
            HTML,
            ("etag", "\"a\""),
            ("content-length", "9"),
            ("accept-ranges", "bytes"),
            ("repr-digest", "sha-256=:x:"),
            ("content-md5", "x"),
        ]);
        describe(&mut fields, Some(Coding::Zstd), None);
        assert_eq!(fields, headers(&[HTML, ("etag", "W/\"a\""), ("content-encoding", "zstd")]));
        describe(&mut fields, None, Some(9));
        assert_eq!(fields, headers(&[HTML, ("etag", "W/\"a\""), ("content-length", "9")]));
    }

    #[test]
    fn vary_names_the_field_once_and_gives_it_back() {
        let mut fields = headers(&[("vary", "Origin, accept-ENCODING")]);
        vary(&mut fields);
        assert_eq!(fields, headers(&[("vary", "Origin, accept-ENCODING")]));
        assert!(unvary(&mut fields));
        assert_eq!(fields, headers(&[("vary", "Origin")]));
        assert!(!unvary(&mut fields));
        vary(&mut fields);
        assert_eq!(fields, headers(&[("vary", "Origin"), ("vary", "Accept-Encoding")]));
        let mut star = headers(&[("vary", "*")]);
        vary(&mut star);
        assert_eq!(star, headers(&[("vary", "*")]));
        let mut alone = headers(&[("vary", "Accept-Encoding")]);
        assert!(unvary(&mut alone) && alone.is_empty());
    }

    #[test]
    fn a_304_is_about_our_form_if_the_client_knows_it_by_a_weak_tag_alone() {
        for (named, expected) in [("W/\"a\"", true), ("\"a\"", false), ("W/\"a\", \"a\"", false), ("*", false)] {
            let (request, response) = (headers(&[("if-none-match", named)]), headers(&[("etag", "\"a\"")]));
            assert_eq!(is_of_our_form(&request, &response), expected, "{named}");
        }
        assert!(!is_of_our_form(&headers(&[("if-none-match", "W/\"a\"")]), &headers(&[("etag", "W/\"a\"")])));
    }

    #[test]
    fn a_date_does_not_tell_forms_apart() {
        let params = Params::default();
        let ambiguous = |accept, if_range| {
            let request = headers(&[("range", "bytes=1-"), ("if-range", if_range), ("accept-encoding", accept)]);
            is_range_ambiguous(Some(&params), &request)
        };
        assert!(ambiguous("gzip", "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!ambiguous("identity", "Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!ambiguous("gzip", "\"a\""));
        assert!(!ambiguous("gzip", "W/\"a\""));
    }

    #[test]
    fn a_coding_has_a_word() {
        for (value, expected) in
            [("gzip", Some("gzip")), ("X-Gzip", Some("gzip")), ("identity", None), ("br, gzip", Some("other"))]
        {
            assert_eq!(word(&headers(&[("content-encoding", value)])), expected, "{value}");
        }
        assert_eq!(word(&headers(&[HTML])), None);
    }

    #[test]
    fn only_media_types_are_media_types() {
        for (text, is_one) in [("text/html", true), ("*/*", false), ("text/*", true), ("*", false), ("a/b c", false)] {
            assert_eq!(Types::parse(&[text]).is_some(), is_one, "{text}");
        }
    }
}
