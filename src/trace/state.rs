//! `tracestate` (W3C Trace Context §3.3): what tracing systems tell each other about a trace. It is theirs: it is passed on
//! as it came, or not at all.

/// Members a `tracestate` may have (§3.3.1.1).
const MEMBERS: usize = 32;
/// Bytes that are passed on; what is longer loses members (§3.3.1.5).
const BYTES: usize = 512;
/// A member longer than this goes first.
const LONG_MEMBER: usize = 128;
/// Bytes of a key, and of a value (§3.3.1.3).
const KEY: usize = 256;
const VALUE: usize = 256;

/// What is passed on of the values of all fields named `tracestate`; `None` if that is nothing. One member that is
/// wrong, or a key that stands twice, makes all of it nothing.
pub fn passed_on<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut members: Vec<&str> = Vec::new();
    for member in values.flat_map(|value| value.split(|&b| b == b',')) {
        let member = member.trim_ascii_start();
        if member.trim_ascii().is_empty() {
            continue;
        }
        let (member, key) = well_formed(member)?;
        if members.len() == MEMBERS || members.iter().any(|other| key_of(other) == key) {
            return None;
        }
        members.push(member);
    }
    shorten(&mut members);
    (!members.is_empty()).then(|| members.join(","))
}

/// Takes out members until the rest fits: long ones, then the last, which are the oldest.
fn shorten(members: &mut Vec<&str>) {
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(members) > BYTES {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
}

/// A member and its key.
fn well_formed(member: &[u8]) -> Option<(&str, &str)> {
    // Space at the end is that of the list.
    let member = std::str::from_utf8(member.trim_ascii_end()).ok()?;
    let (key, value) = member.split_once('=')?;
    (is_key(key) && is_value(value)).then_some((member, key))
}

fn key_of(member: &str) -> &str {
    member.split('=').next().unwrap_or_default()
}

/// `simple-key` or `tenant@system`.
fn is_key(key: &str) -> bool {
    let is_part = |part: &str, first: fn(u8) -> bool, longest: usize| {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*' | b'/');
        part.len() <= longest && part.bytes().next().is_some_and(first) && part.bytes().all(rest)
    };
    match key.split_once('@') {
        Some((tenant, system)) => {
            is_part(tenant, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), 241)
                && is_part(system, |b| b.is_ascii_lowercase(), 14)
        }
        None => is_part(key, |b| b.is_ascii_lowercase(), KEY),
    }
}

fn is_value(value: &str) -> bool {
    let is_char = |b: u8| matches!(b, b' '..=b'~') && b != b',' && b != b'=';
    !value.is_empty() && value.len() <= VALUE && value.bytes().all(is_char)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(values: &[&str]) -> Option<String> {
        passed_on(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn lines_are_one_list_in_order() {
        assert_eq!(
            passed(&["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "1a@sys=x y "]).as_deref(),
            Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,1a@sys=x y")
        );
        assert_eq!(passed(&["", " , a=1,,"]).as_deref(), Some("a=1"));
        assert_eq!(passed(&["", ","]), None);
        assert_eq!(passed(&[]), None);
    }

    #[test]
    fn one_wrong_member_makes_all_of_it_nothing() {
        for wrong in
            ["a", "a=", "A=1", "1=1", "a=b=c", "a=1,a=2", "a@b@c=1", "@b=1", "a@=1", "a=\u{e4}", "a=\x01", "a =1"]
        {
            assert_eq!(passed(&["good=1", wrong]), None, "{wrong}");
        }
        assert_eq!(passed(&[&format!("{}=1", "k".repeat(257))]), None);
        assert_eq!(passed(&[&format!("k={}", "v".repeat(257))]), None);
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(passed(&[&many(32)]), Some(many(32)));
        assert_eq!(passed(&[&many(33)]), None);
    }

    #[test]
    fn what_is_too_long_loses_long_members_and_then_the_oldest() {
        let long = format!("long={}", "v".repeat(200));
        let short: Vec<String> = (0..30).map(|i| format!("k{i:02}={}", "v".repeat(11))).collect();
        let text = format!("{},{long},{}", short[0], short[1..].join(","));
        assert_eq!(passed(&[&text]), Some(short.join(",")));
        let short: Vec<String> = (0..10).map(|i| format!("k{i}={}", "v".repeat(97))).collect();
        assert_eq!(passed(&[&short.join(",")]), Some(short[..5].join(",")));
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_bounded_and_passes_unchanged(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
            if let Some(state) = passed_on([bytes.as_slice()].into_iter()) {
                prop_assert!(state.len() <= BYTES);
                prop_assert_eq!(passed_on([state.as_bytes()].into_iter()), Some(state));
            }
        }

        #[test]
        fn good_members_pass(members in prop::collection::btree_map("[a-z][a-z0-9_*/-]{0,20}", "[!-+.-<>-~]{1,30}", 1..20)) {
            let text = members.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
            let state = passed_on([text.as_bytes()].into_iter());
            prop_assert!(state.is_some_and(|state| text.starts_with(&state) && (state == text || text.len() > BYTES)));
        }
    }
}
