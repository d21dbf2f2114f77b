//! How important a request is: what its route says, or what a trusted proxy says of it.

use http::HeaderName;
use pingora::http::RequestHeader;

use crate::cache::urgency;
use crate::caller::Client;
use crate::config::Route;
use crate::tail::class::Class;

const PRIORITY: HeaderName = HeaderName::from_static("priority");

/// The class of a request by its route. What a client says of its own is taken out: it must not choose for what stands
/// behind us either.
pub(super) fn class(request: &mut RequestHeader, client: &Client, route: &Route) -> Class {
    let Some(field) = &route.priority_header else { return route.priority };
    if !client.trusted {
        request.remove_header(field);
        return route.priority;
    }
    let said = match *field == PRIORITY {
        true => urgency::urgency(&request.headers).map(of_urgency),
        false => request.headers.get(field).and_then(|word| Class::of(word.to_str().ok()?.trim())),
    };
    said.unwrap_or(route.priority)
}

/// RFC 9218 has 3 for what nothing is said about, and 7 for what is done in the background.
fn of_urgency(urgency: u8) -> Class {
    match urgency {
        0..=2 => Class::Critical,
        3..=5 => Class::Default,
        _ => Class::Sheddable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_str;

    fn of(config: &str, trusted: bool, field: (&'static str, &str)) -> (Class, bool) {
        let text = format!("[[pool]]\nname = \"a\"\nbackends = [\"h:1\"]\n[[route]]\n{config}");
        let route = parse_str("t", &text).unwrap().config.routes[0].clone();
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header(field.0, field.1).unwrap();
        let client = Client { secure: false, peer: None, trusted, address: None };
        let class = class(&mut request, &client, &route);
        (class, request.headers.contains_key(field.0))
    }

    #[test]
    fn a_trusted_proxy_says_it_and_else_the_route_does() {
        let config = "priority = \"sheddable\"\npriority_header = \"X-Priority\"";
        assert_eq!(of(config, true, ("x-priority", "critical")), (Class::Critical, true));
        assert_eq!(of(config, true, ("x-priority", " default ")), (Class::Default, true));
        assert_eq!(of(config, true, ("x-priority", "urgent")), (Class::Sheddable, true));
        assert_eq!(of(config, true, ("x-other", "critical")), (Class::Sheddable, true));
        assert_eq!(of(config, false, ("x-priority", "critical")), (Class::Sheddable, false));
        assert_eq!(of("", true, ("x-priority", "critical")), (Class::Default, true));
        assert_eq!(of("priority = \"critical\"", false, ("x-priority", "sheddable")), (Class::Critical, true));
    }

    #[test]
    fn the_field_of_rfc_9218_has_urgencies() {
        let config = "priority_header = \"Priority\"";
        for (said, class) in [("u=0", Class::Critical), ("u=2, i", Class::Critical), ("i", Class::Default)] {
            assert_eq!(of(config, true, ("priority", said)).0, class, "{said}");
        }
        assert_eq!(of(config, true, ("priority", "u=6")).0, Class::Sheddable);
        assert_eq!(of(config, true, ("priority", "critical")).0, Class::Default);
        assert_eq!(of(config, false, ("priority", "u=0")), (Class::Default, false));
    }
}
