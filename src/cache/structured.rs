//! Structured fields (RFC 8941) as they are written: the items that `Cache-Status` and `Proxy-Status` are made of.

use std::fmt::Write;

use super::directives::is_tchar;

/// An integer parameter, cut to the 15 digits that one may have (§3.3.1). `parameter` is what stands before the number.
pub(super) fn write_integer(parameter: &str, value: i64, out: &mut String) {
    const MOST: i64 = 999_999_999_999_999;
    out.push_str(parameter);
    // Writing to a String cannot fail.
    let _ = write!(out, "{}", value.clamp(-MOST, MOST));
}

/// A token if it can be one, else a string (§3.3.4).
pub(super) fn write_item(item: &str, out: &mut String) {
    let mut bytes = item.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'*');
    if starts && bytes.all(|b| is_tchar(b) || matches!(b, b':' | b'/')) {
        out.push_str(item);
        return;
    }
    write_string(item, out);
}

/// A string (§3.3.3), in which what it cannot hold becomes `?`.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_is_no_token_is_a_string_rfc8941_3_3() {
        for (name, expected) in [
            ("edge-1.example:8080/a", "edge-1.example:8080/a"),
            ("*", "*"),
            ("CDN Company Here", "\"CDN Company Here\""),
            ("1edge", "\"1edge\""),
            ("", "\"\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("é\r\n", "\"???\""),
        ] {
            let mut out = String::new();
            write_item(name, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn integers_have_at_most_fifteen_digits_rfc8941_3_3_1() {
        for (value, expected) in [(0, "0"), (i64::MAX, "999999999999999"), (i64::MIN, "-999999999999999")] {
            let mut out = String::new();
            write_integer("", value, &mut out);
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn any_name_is_a_token_or_a_string(name in "\\PC*") {
            let mut out = String::new();
            write_item(&name, &mut out);
            let string = out.starts_with('"');
            prop_assert!(out.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(string == out.ends_with('"') || !string);
            prop_assert!(string || !out.is_empty());
        }
    }
}
