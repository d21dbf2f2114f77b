//! Hits of the lane in traces: those of requests that are drawn, or that a believed caller records.

use std::borrow::Cow;
use std::net::IpAddr;

use super::names::Name;
use super::plain::Plain;
use crate::caller::Client;
use crate::config::Tracing;
use crate::telemetry::Trace;
use crate::trace::context::Parent;
use crate::trace::sampling;

/// What only a span wants to know.
#[derive(Debug)]
pub(super) struct SpanFacts<'a> {
    pub scheme: &'static str,
    pub port: Option<u16>,
    pub peer: Option<IpAddr>,
    pub user_agent: Option<Cow<'a, [u8]>>,
}

/// The trace of a request, if it is recorded or a caller that is believed names one. Nothing is drawn for others.
pub(super) fn trace(config: Option<&Tracing>, plain: &Plain<'_>, client: &Client) -> Option<Trace> {
    let config = config?;
    let is_believed = config.trust.believes(client.trusted);
    let parent = if is_believed { Parent::read(named(plain, "traceparent")) } else { None };
    let decided = parent.filter(|_| client.trusted).map(|parent| parent.sampled);
    let sampled = sampling::at_start(config.sample, decided, fastrand::f64());
    (sampled.is_some() || parent.is_some()).then(|| Trace::of(parent, sampled))
}

impl<'a> SpanFacts<'a> {
    pub(super) fn of(plain: &Plain<'a>, client: &Client) -> SpanFacts<'a> {
        let is_https = |told: &[u8]| told.eq_ignore_ascii_case(b"https");
        let told = plain.values(Name::XForwardedProto).next().filter(|_| client.trusted);
        SpanFacts {
            scheme: if told.map_or(client.secure, is_https) { "https" } else { "http" },
            port: plain.port,
            peer: client.peer,
            user_agent: named(plain, "user-agent").next().map(Cow::Borrowed),
        }
    }

    pub(super) fn into_owned(self) -> SpanFacts<'static> {
        SpanFacts { user_agent: self.user_agent.map(|agent| Cow::Owned(agent.into_owned())), ..self }
    }
}

/// The values of the fields of a name that the lane does not know else.
fn named<'a>(plain: &Plain<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    plain.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}
