//! The names by which an origin lets stored responses be purged together: `Cache-Groups` (RFC 9875) and the tag fields
//! of other caches.
//!
//! Each field has a grammar of its own and none of the others' readers will do: a group may hold a comma or a space
//! inside its quotes, a Fastly key ends at a space, a Cloudflare tag only at a comma. A strict structured field with one
//! mistake in it is no field at all (RFC 9651 §4.2); the others have no mistakes.
//!
//! What one response may carry is bounded. What is more is cut, and the caller is told, because a response that lacks a
//! tag is one that a purge will miss.

use http::HeaderMap;
use http::header::HeaderName;
use sfv::{BareItem, ListEntry, Parser};

/// RFC 9875 §2.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// RFC 9875 §3.
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// Comma separated, and a tag may hold spaces.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Tags of one response; RFC 9875 asks for at least 32 groups.
pub const MAX_TAGS: usize = 128;
/// Bytes in one tag; RFC 9875 asks for at least 32, Fastly and Cloudflare allow 1024.
pub const MAX_TAG: usize = 1024;
/// Fields that may be configured to hold tags.
pub const MAX_FIELDS: usize = 16;

/// The fields that hold tags where nothing is configured: RFC 9875, Fastly, Cloudflare and Akamai, Varnish.
pub const DEFAULT_FIELDS: [&str; 4] = ["Cache-Groups", "Surrogate-Key", "Cache-Tag", "xkey"];

/// What a message names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tags {
    /// The strings of `Cache-Groups`: groups within the response's origin.
    pub groups: Vec<String>,
    /// The members of all configured fields, in order.
    pub tags: Vec<Vec<u8>>,
    /// How many were left out because there were more than [`MAX_TAGS`], or because they were longer than [`MAX_TAG`].
    pub cut: usize,
}

/// The tags in `headers`. `fields` are those that hold tags; groups are read whether or not `Cache-Groups` is one of them.
pub fn read(fields: &[HeaderName], headers: &HeaderMap) -> Tags {
    let (groups, mut cut) = groups(headers, &CACHE_GROUPS);
    let mut tags = Vec::new();
    for field in fields {
        if *field == CACHE_GROUPS {
            tags.extend(groups.iter().map(|group| group.as_bytes().to_vec()));
            continue;
        }
        let lines = headers.get_all(field).iter().map(|line| line.as_bytes());
        tags.extend(lines.flat_map(|line| members(field, line)).map(<[u8]>::to_vec));
    }
    cut += bound(&mut tags, Vec::len);
    Tags { groups, tags, cut }
}

/// The strings of a field that is a List of Strings (RFC 9651 §3.1), and how many were left out. Nothing where the field
/// is no such list; members of another type and parameters are ignored (RFC 9875 §2).
pub fn groups(headers: &HeaderMap, name: &HeaderName) -> (Vec<String>, usize) {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    // Several lines are one list (§4.2).
    let Ok(list) = Parser::new(&lines.join(&b", "[..])).parse::<sfv::List>() else { return (Vec::new(), 0) };
    let string = |entry: ListEntry| match entry {
        ListEntry::Item(sfv::Item { bare_item: BareItem::String(string), .. }) => Some(string.as_str().to_owned()),
        _ => None,
    };
    let mut groups: Vec<String> = list.into_iter().filter_map(string).collect();
    let cut = bound(&mut groups, String::len);
    (groups, cut)
}

/// The members of one line of a field that is not a structured one: at commas in `Cache-Tag`, at spaces and commas in any
/// other.
fn members<'a>(field: &HeaderName, line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let spaces_too = *field != CACHE_TAG;
    let is_end = move |b: &u8| *b == b',' || spaces_too && matches!(b, b' ' | b'\t');
    line.split(is_end).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

fn bound<T>(list: &mut Vec<T>, length: impl Fn(&T) -> usize) -> usize {
    let before = list.len();
    list.retain(|member| length(member) <= MAX_TAG);
    list.truncate(MAX_TAGS);
    before - list.len()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn fields() -> Vec<HeaderName> {
        DEFAULT_FIELDS.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn tags(lines: &[(&'static str, &str)]) -> Vec<String> {
        let read = read(&fields(), &headers(lines));
        read.tags.into_iter().map(|tag| String::from_utf8(tag).unwrap()).collect()
    }

    #[test]
    fn each_field_has_its_own_separators() {
        assert_eq!(tags(&[("surrogate-key", "a b\tc,d")]), ["a", "b", "c", "d"]);
        assert_eq!(tags(&[("cache-tag", "a b, c ,,d")]), ["a b", "c", "d"]);
        assert_eq!(tags(&[("xkey", "a b"), ("xkey", "c, d")]), ["a", "b", "c", "d"]);
        assert_eq!(tags(&[("cache-groups", r#""a b", "c,d";x=1"#)]), ["a b", "c,d"]);
    }

    #[test]
    fn a_field_that_is_not_configured_tells_nothing_but_groups() {
        let read =
            read(&["x-tags".parse().unwrap()], &headers(&[("cache-groups", "\"g\""), ("xkey", "a"), ("x-tags", "t")]));
        assert_eq!(read, Tags { groups: vec!["g".into()], tags: vec![b"t".to_vec()], cut: 0 });
    }

    #[test]
    fn groups_on_several_lines_are_one_list_rfc9651_4_2() {
        assert_eq!(tags(&[("cache-groups", "\"a\""), ("cache-groups", "\"b\"")]), ["a", "b"]);
    }

    #[test]
    fn one_mistake_and_the_structured_field_is_ignored_rfc9651_4_2() {
        for wrong in ["\"a\" \"b\"", "\"a\",", "\"a", "\"\u{e4}\"", "a,,b"] {
            assert_eq!(tags(&[("cache-groups", wrong)]), [""; 0], "{wrong}");
        }
    }

    #[test]
    fn what_is_no_string_is_no_group_rfc9875_2() {
        assert_eq!(tags(&[("cache-groups", "token, \"a\", 1, (\"b\"), \"c\";p=?0")]), ["a", "c"]);
    }

    #[test]
    fn thirty_two_groups_of_thirty_two_characters_are_kept_rfc9875_2() {
        let groups: Vec<String> = (0..32).map(|n| format!("{n:032}")).collect();
        let line = groups.iter().map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(", ");
        let read = read(&fields(), &headers(&[("cache-groups", &line)]));
        assert_eq!((read.groups, read.cut), (groups, 0));
    }

    #[test]
    fn what_is_too_much_is_cut_and_told() {
        let many = (0..MAX_TAGS + 3).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let long = "x".repeat(MAX_TAG + 1);
        let fits = "x".repeat(MAX_TAG);
        let read = |line: &str| read(&fields(), &headers(&[("surrogate-key", line)]));
        assert_eq!((read(&many).tags.len(), read(&many).cut), (MAX_TAGS, 3));
        assert_eq!((read(&long).tags.len(), read(&long).cut), (0, 1));
        assert_eq!((read(&fits).tags.len(), read(&fits).cut), (1, 0));
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in "[\\x20-\\x7e]{0,200}") {
            for field in DEFAULT_FIELDS {
                let mut map = HeaderMap::new();
                map.append(field.parse::<HeaderName>().unwrap(), HeaderValue::from_str(&line).unwrap());
                let read = read(&fields(), &map);
                prop_assert!(read.tags.iter().all(|tag| !tag.is_empty() || field == "Cache-Groups"));
            }
        }

        #[test]
        fn a_written_group_is_read(groups in proptest::collection::vec("[\\x20-\\x7e]{1,40}", 1..32)) {
            let quoted = groups.iter().map(|g| format!("\"{}\"", g.replace('\\', "\\\\").replace('"', "\\\"")));
            let line = quoted.collect::<Vec<_>>().join(",");
            prop_assert_eq!(read(&fields(), &headers(&[("cache-groups", &line)])).groups, groups);
        }
    }
}
