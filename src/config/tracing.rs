//! `[tracing]`: which requests are recorded as traces, and where those go.

use std::time::Duration;

use http::{HeaderName, Uri};

use super::read::Section;
use super::value::Value;
use super::{Secret, defaults, server};
use crate::tail::rate::Rate;
use crate::trace::sampling::Keep;
use crate::units::Ratio;

/// `[tracing]`: which requests are recorded as traces, and where those go.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// The collector: `http` or `https`, with a host.
    pub endpoint: Uri,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The share of requests that is recorded whatever comes of them.
    pub sample: Ratio,
    /// What is recorded besides.
    pub keep: Keep,
    /// How much of that, at most.
    pub keep_rate: Rate,
    /// Whose trace context is believed.
    pub trust: Trust,
    /// `service.name` of all spans.
    pub service_name: String,
    /// What else is told of the service, by name.
    pub resource: Vec<(String, String)>,
    /// Fields sent to the collector with every request, by name.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Whether spans tell the query, which may hold what is nobody's business.
    pub query: bool,
    /// Traces that wait for the collector, at most.
    pub queue: usize,
    /// For one batch to be taken, over all attempts at it.
    pub timeout: Duration,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC, on HTTP/2.
    #[default]
    Grpc,
    /// OTLP over HTTP, in protobuf.
    Http,
}

/// Whose `traceparent`, `tracestate` and `baggage` are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nobody's: each request begins a trace.
    None,
    /// Those of `trusted_proxies`.
    #[default]
    Proxies,
    /// Everybody's; but only a trusted proxy decides what is recorded.
    All,
}

/// The words of [`Protocol`].
pub(super) const PROTOCOLS: [(&str, Protocol); 2] = [("grpc", Protocol::Grpc), ("http", Protocol::Http)];
/// The words of [`Trust`].
pub(super) const TRUSTS: [(&str, Trust); 3] = [("none", Trust::None), ("proxies", Trust::Proxies), ("all", Trust::All)];

/// Entries of `resource` and of `headers`.
const MOST: usize = 64;
/// Bytes of a name or a value in `resource`.
const LONGEST: usize = 256;
/// Fields that are the exporter's to set.
const OURS: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Reads `[tracing]`; `None` if it is not written, or names no collector.
pub(super) fn read(mut section: Section<'_>) -> Option<Tracing> {
    if !section.is_present() {
        return None;
    }
    let protocol = section.optional("protocol").and_then(|value| value.word(&PROTOCOLS)).unwrap_or_default();
    let endpoint = section.required("endpoint", ENDPOINT).and_then(|value| endpoint(&value, protocol));
    let sample = section.ratio("sample", Ratio::ZERO..=Ratio::ONE, defaults::TRACE_SAMPLE);
    let (keep, keep_rate) = keep(section.section("keep"));
    let trust = section.optional("trust").and_then(|value| value.word(&TRUSTS)).unwrap_or_default();
    let service_name = section.optional("service_name").and_then(|value| attribute(&value));
    let resource = resource(section.section("resource"));
    let headers = headers(section.section("headers"));
    let query = section.boolean("query", false);
    let queue = section.integer("queue", 1..=100_000, defaults::TRACE_QUEUE);
    let timeout = section.duration("timeout", server::TIMEOUT, defaults::TRACE_TIMEOUT);
    section.finish();
    Some(Tracing {
        endpoint: endpoint?,
        protocol,
        sample,
        keep,
        keep_rate,
        trust,
        service_name: service_name.unwrap_or_else(|| defaults::SERVICE_NAME.to_owned()),
        resource,
        headers,
        query,
        queue: usize::try_from(queue).unwrap_or(usize::MAX),
        timeout,
    })
}

const ENDPOINT: &str = "the URL of a collector such as \"http://127.0.0.1:4317\"";

fn endpoint(value: &Value<'_>, protocol: Protocol) -> Option<Uri> {
    let text = value.text(ENDPOINT)?;
    let uri = text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let plain = |uri: &Uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        !uri.host().unwrap_or("").is_empty() && !authority.contains('@') && uri.query().is_none()
    };
    let Some(uri) = uri.filter(plain) else {
        value.expected(ENDPOINT);
        return None;
    };
    if protocol == Protocol::Grpc && !matches!(uri.path(), "" | "/") {
        value.spot.error("has a path, which only `protocol = \"http\"` has a use for");
    }
    match (protocol, uri.port_u16()) {
        (Protocol::Grpc, Some(4318)) => {
            value.spot.warning("port 4318 is that of OTLP over HTTP, but protocol is \"grpc\"")
        }
        (Protocol::Http, Some(4317)) => {
            value.spot.warning("port 4317 is that of OTLP over gRPC, but protocol is \"http\"")
        }
        _ => {}
    }
    Some(uri)
}

fn keep(mut section: Section<'_>) -> (Keep, Rate) {
    let default = Keep::default();
    let slow = match section.optional("slow") {
        Some(value) if value.as_text() == Some("off") => None,
        Some(value) => value.duration(server::TIMEOUT).or(default.slow),
        None => default.slow,
    };
    let keep = Keep {
        slow,
        failed: section.boolean("failed", default.failed),
        hedged: section.boolean("hedged", default.hedged),
        shed: section.boolean("shed", default.shed),
    };
    let rate = section.optional("rate").and_then(|value| value.rate()).unwrap_or(defaults::TRACE_KEEP_RATE);
    section.finish();
    (keep, rate)
}

/// A text of an attribute.
fn attribute(value: &Value<'_>) -> Option<String> {
    const EXPECTED: &str = "a text of 1 to 256 bytes";
    let text = value.text(EXPECTED)?;
    if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
        value.expected(EXPECTED);
        return None;
    }
    Some(text.to_owned())
}

fn resource(mut section: Section<'_>) -> Vec<(String, String)> {
    let entries = section.entries();
    if entries.len() > MOST {
        section.spot.error(format_args!("has {} entries, expected at most {MOST}", entries.len()));
    }
    let entry = |(name, value): (&str, Value<'_>)| {
        let is_name = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if name == "service.name" {
            value.spot.error("is what `service_name` says");
        } else if !is_name {
            value.spot.error("is no name of an attribute such as \"deployment.environment.name\"");
        }
        Some((name.to_owned(), attribute(&value)?))
    };
    let mut resource: Vec<_> = entries.into_iter().filter_map(entry).collect();
    resource.sort();
    resource
}

fn headers(mut section: Section<'_>) -> Vec<(HeaderName, Secret)> {
    let entries = section.entries();
    if entries.len() > MOST {
        section.spot.error(format_args!("has {} entries, expected at most {MOST}", entries.len()));
    }
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    for (name, value) in entries {
        let Ok(field) = name.parse::<HeaderName>() else {
            value.spot.error("is no name of a header field such as \"authorization\"");
            continue;
        };
        if OURS.contains(&field.as_str()) || field.as_str().starts_with("grpc-") || field.as_str().ends_with("-bin") {
            value.spot.error("is a field that the exporter sets itself, or cannot send");
        }
        if headers.iter().any(|(other, _)| *other == field) {
            value.spot.error("is there twice");
        }
        headers.extend(Secret::read_field(&value).map(|secret| (field, secret)));
    }
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    headers
}
