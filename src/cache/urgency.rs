//! How urgent a client's response is, by the field `Priority` (RFC 9218 §4.1).

use http::HeaderMap;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// What holds where nothing is said (§4.1).
const DEFAULT: u8 = 3;

/// The urgency, 0 (the most urgent) to 7, where there is a field that can be read. What it says in another way than the
/// RFC's is as if it said nothing (§4).
pub fn urgency(headers: &HeaderMap) -> Option<u8> {
    let lines: Vec<&[u8]> = headers.get_all("priority").iter().map(|line| line.as_bytes()).collect();
    if lines.is_empty() {
        return None;
    }
    let said: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    let urgency = match said.get("u") {
        Some(ListEntry::Item(item)) => match item.bare_item {
            BareItem::Integer(urgency) => u8::try_from(i64::from(urgency)).ok().filter(|urgency| *urgency <= 7),
            _ => None,
        },
        _ => None,
    };
    Some(urgency.unwrap_or(DEFAULT))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(lines: &[&str]) -> Option<u8> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("priority", HeaderValue::from_str(line).unwrap());
        }
        urgency(&headers)
    }

    #[test]
    fn urgency_is_read_as_rfc_9218_says() {
        assert_eq!(said(&["u=0"]), Some(0));
        assert_eq!(said(&["u=5, i"]), Some(5));
        assert_eq!(said(&["i", "u=7"]), Some(7));
        assert_eq!(said(&["u=1, u=2"]), Some(2), "of two the last holds (RFC 8941 section 3.2)");
        assert_eq!(said(&["i"]), Some(3));
        assert_eq!(said(&[""]), Some(3));
        for nonsense in ["u=8", "u=-1", "u=1.5", "u=\"1\"", "u=(1)", "u"] {
            assert_eq!(said(&[nonsense]), Some(3), "{nonsense}");
        }
        for unreadable in ["u=", "=1", "u=1,,"] {
            assert_eq!(said(&[unreadable]), None, "{unreadable}");
        }
        assert_eq!(said(&[]), None);
    }
}
