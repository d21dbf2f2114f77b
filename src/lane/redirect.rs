//! The answer of a listener that sends everybody to HTTPS.

use std::net::IpAddr;
use std::time::Duration;

use super::framed::Framed;
use super::head::{self, Head};
use crate::clock;
use crate::config::Limits;
use crate::edge::Edge;
use crate::telemetry::{CacheResult, Method, Record, Termination};

/// What a client that asks for something is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// 301, or 308 where another method must not become GET on the way (RFC 9110 §15.4.9).
    pub status: u16,
    /// The same by HTTPS.
    pub location: String,
}

impl Redirect {
    /// For a request of `method` for `target` at `host`, to HTTPS at `port`; `None` without a host.
    pub(super) fn new(method: &str, host: &str, target: &str, port: u16) -> Option<Redirect> {
        if host.is_empty() {
            return None;
        }
        let status = if matches!(method, "GET" | "HEAD") { 301 } else { 308 };
        // An absolute-form target says the same as the host.
        let path = match target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None if target.starts_with('/') => target,
            None => "/",
        };
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        Some(Redirect { status, location: format!("https://{host}{port}{path}") })
    }

    /// The status line's phrase.
    fn phrase(&self) -> &'static str {
        if self.status == 301 { "Moved Permanently" } else { "Permanent Redirect" }
    }

    /// Counts and logs it.
    pub(super) fn log(&self, edge: &Edge, client: Option<IpAddr>, method: &str, host: &str, protocol: &'static str) {
        let metrics = edge.metrics();
        metrics.unrouted().record(Method::of(method), self.status, CacheResult::None, Duration::ZERO);
        metrics.terminated(Termination::Done);
        let path = self.location.find(host).and_then(|at| self.location[at..].find('/').map(|path| at + path));
        edge.access_log().log(&Record {
            client,
            method,
            host,
            path: path.and_then(|at| self.location.get(at..)).unwrap_or("/"),
            protocol,
            ..Record::unrouted(clock::wall(), self.status, Termination::Done, edge.peek().generation())
        });
    }
}

/// Answers the request at the front of what was read and closes; without a host there is nowhere to send it.
pub(super) async fn answer(edge: &Edge, mut framed: Framed, head: Head, port: u16, client: Option<IpAddr>) {
    let bytes = framed.ahead().get(..head.len).unwrap_or_default().to_vec();
    let told = asked(edge, &bytes, port);
    let date = httpdate::fmt_http_date(clock::wall());
    let reply = match &told {
        Some((redirect, method, host)) => {
            redirect.log(edge, client, method, host, "HTTP/1.1");
            format!(
                "HTTP/1.1 {} {}\r\nDate: {date}\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                redirect.status,
                redirect.phrase(),
                redirect.location
            )
        }
        None => format!("HTTP/1.1 400 Bad Request\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    };
    framed.refuse(reply.as_bytes()).await;
}

/// What a head that has been judged asks for: the redirect, its method and host.
fn asked(edge: &Edge, bytes: &[u8], port: u16) -> Option<(Redirect, String, String)> {
    let snapshot = edge.peek();
    let limits: &Limits = &snapshot.config().server.limits;
    let mut space = head::space();
    let (_, request) = head::judge(bytes, limits, &mut space).ok()??;
    let (host, _) = request.host.as_ref()?;
    let redirect = Redirect::new(request.method, host, request.target, port)?;
    Some((redirect, request.method.to_owned(), host.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(method: &str, host: &str, target: &str, port: u16) -> (u16, String) {
        let redirect = Redirect::new(method, host, target, port).unwrap();
        (redirect.status, redirect.location)
    }

    #[test]
    fn it_is_the_same_by_https() {
        assert_eq!(location("GET", "shop.example", "/a?b=c", 443), (301, "https://shop.example/a?b=c".into()));
        assert_eq!(location("POST", "shop.example", "/a", 8443), (308, "https://shop.example:8443/a".into()));
        assert_eq!(location("GET", "[::1]", "/", 443), (301, "https://[::1]/".into()));
        assert_eq!(location("GET", "a", "http://a:80/b", 443), (301, "https://a/b".into()));
        assert_eq!(location("GET", "a", "http://a", 443), (301, "https://a/".into()));
        assert_eq!(location("OPTIONS", "a", "*", 443), (308, "https://a/".into()));
        assert_eq!(Redirect::new("GET", "", "/", 443), None);
    }
}
