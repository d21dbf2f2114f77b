//! The operator's listener: the live page, health, configuration, pools, slow requests, metrics, reload, purge, explain. On loopback unless configured
//! otherwise, since whoever reaches it may reload and purge.

mod assets;
mod explain;
mod live;
mod pools;
mod purge;
mod serve;
mod slow;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, Method};
use pingora::protocols::http::ServerSession;
use serde_json::json;

use crate::clock;
use crate::edge::Edge;
use crate::reload::{Rejected, Reloader};
use crate::telemetry::{CacheSample, Scrape, page};

pub use live::{Live, VIEWERS};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The admin application of one edge.
pub struct Admin {
    edge: Arc<Edge>,
    reloader: Arc<Reloader>,
    live: Arc<Live>,
}

impl Admin {
    /// Serves `edge`; what `live` sees is shown.
    pub fn new(edge: Arc<Edge>, reloader: Arc<Reloader>, live: Arc<Live>) -> Admin {
        Admin { edge, reloader, live }
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        let read = method == Method::GET || method == Method::HEAD;
        match path {
            "/reload" if method == Method::POST => self.reload(),
            "/reload" | "/purge" | "/explain" => Answer::not_allowed("POST"),
            serve::EVENTS => Answer::not_allowed("GET"),
            "/healthz" | "/readyz" | "/config" | "/pools" | "/slow" | "/metrics" | "/" | "/live.json"
            | "/live/history"
                if !read =>
            {
                Answer::not_allowed("GET, HEAD")
            }
            "/live.json" => Answer::dense(&self.live.frame()),
            "/live/history" => Answer::dense(&self.live.past()),
            "/" => Answer::text(200, INDEX),
            "/healthz" => Answer::text(200, "ok\n"),
            "/readyz" => self.ready(),
            "/config" => Answer::json(200, &self.edge.peek().config().to_json()),
            "/pools" => Answer::json(200, &pools::page(&self.edge.snapshot(), clock::now())),
            "/slow" => Answer::json(200, &slow::page(&self.edge)),
            "/metrics" => Answer { status: 200, kind: page::CONTENT_TYPE, body: self.metrics().into(), more: None },
            _ => match assets::find(path) {
                Some(file) if read => file,
                Some(_) => Answer::not_allowed("GET, HEAD"),
                None => Answer::text(404, INDEX),
            },
        }
    }

    /// The answer to the request that `session` has read.
    async fn respond(&self, session: &mut ServerSession) -> Answer {
        let request = session.req_header();
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        let has =
            |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (from_a_page, is_browser) = (request.headers.contains_key(ORIGIN), has(ACCEPT).contains("text/html"));
        let answer = match (&method, path.as_str()) {
            // A browser lets any page send a POST here, and says whose it is.
            (&Method::POST, _) if from_a_page => Answer::text(403, "not from a web page\n"),
            (&Method::POST, "/purge") => match body(session).await {
                Some(body) => purge::answer(&self.edge, &body),
                None => purge::too_large(&self.edge),
            },
            (&Method::POST, "/explain") => match body(session).await {
                Some(body) => explain::answer(&self.edge, &body),
                None => Answer::text(413, "the body is too large\n"),
            },
            (&Method::GET | &Method::HEAD, "/") if is_browser => self.answer(&method, assets::PAGE),
            _ => self.answer(&method, &path),
        };
        if answer.status == 413 || answer.status == 403 {
            // The rest of the body stands before the next request.
            session.set_keepalive(None);
        }
        answer
    }

    /// Ready: not on the way out, and every pool has an address to send to.
    fn ready(&self) -> Answer {
        let snapshot = self.edge.snapshot();
        if self.edge.is_draining() {
            return Answer::text(503, "draining\n");
        }
        match snapshot.pools().iter().find(|pool| pool.members().is_empty()) {
            Some(pool) => Answer::text(503, &format!("pool {}: no name has resolved yet\n", pool.name())),
            None => Answer::text(200, "ready\n"),
        }
    }

    fn metrics(&self) -> String {
        let stats = self.edge.store().stats();
        let (snapshot, now) = (self.edge.snapshot(), clock::now());
        self.edge.metrics().render(Scrape {
            backends: pools::backend_samples(&snapshot, now),
            pools: pools::pool_samples(&snapshot, now),
            routes: pools::route_samples(&snapshot),
            cache: CacheSample {
                objects: stats.objects,
                bytes: stats.bytes,
                capacity: self.edge.peek().config().cache.memory,
                stores: stats.stored,
                evictions: stats.evicted,
                purged: stats.purged,
                tags_cut: stats.tags_cut,
                purges: stats.rules as u64,
                refusals: stats.refused,
            },
        })
    }

    fn reload(&self) -> Answer {
        match self.reloader.reload() {
            Ok(applied) => Answer::json(
                200,
                &json!({
                    "generation": applied.generation,
                    "changes": applied.changes,
                    "warnings": applied.warnings,
                }),
            ),
            Err(Rejected::NoSource) => {
                Answer::json(409, &json!({ "errors": ["the configuration did not come from a file"] }))
            }
            Err(Rejected::Problems(problems)) => {
                let generation = self.edge.peek().generation();
                Answer::json(422, &json!({ "generation": generation, "errors": problems }))
            }
        }
    }
}

const INDEX: &str = "\
hedgerow admin
GET  /          the live page, for browsers; this list else
GET  /live.json what happens now, for programs
GET  /healthz   the process is alive
GET  /readyz    it serves, and every pool has an address
GET  /config    the running configuration
GET  /pools     every backend: state, in flight, latency
GET  /slow      the slowest requests of each route, and what they waited for
GET  /metrics   for Prometheus
POST /reload    read the configuration anew
POST /purge     purge by URL, tag, host, prefix or glob, or everything
POST /explain   what the cache would do with a request, and why
";

struct Answer {
    status: u16,
    kind: &'static str,
    body: Cow<'static, str>,
    /// A field that only some answers have.
    more: Option<(HeaderName, &'static str)>,
}

impl Answer {
    fn text(status: u16, body: &str) -> Answer {
        Answer { status, kind: TEXT, body: body.to_owned().into(), more: None }
    }

    fn json(status: u16, body: &serde_json::Value) -> Answer {
        Answer { status, kind: JSON, body: format!("{body:#}\n").into(), more: None }
    }

    /// JSON for programs: on one line.
    fn dense(body: &serde_json::Value) -> Answer {
        Answer { status: 200, kind: JSON, body: format!("{body}\n").into(), more: None }
    }

    fn crowded() -> Answer {
        let body = format!("{} look already\n", live::VIEWERS);
        Answer { status: 503, kind: TEXT, body: body.into(), more: Some((RETRY_AFTER, "10")) }
    }

    fn fields(&self) -> impl Iterator<Item = (HeaderName, String)> {
        let more = self.more.clone().map(|(name, value)| (name, value.to_owned()));
        let always = [
            (CONTENT_TYPE, self.kind.to_owned()),
            (CONTENT_LENGTH, self.body.len().to_string()),
            (CACHE_CONTROL, "no-store".to_owned()),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        ];
        always.into_iter().chain(more)
    }

    fn not_allowed(allow: &'static str) -> Answer {
        Answer { status: 405, kind: TEXT, body: format!("use {allow}\n").into(), more: Some((ALLOW, allow)) }
    }
}

/// The body of a request; `None` if it is too large. What a client breaks off is what came of it.
async fn body(session: &mut ServerSession) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = session.read_request_body().await {
        body.extend_from_slice(&bytes);
        if body.len() > purge::MOST {
            return None;
        }
    }
    Some(body)
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

fn thousandths(ratio: f64) -> f64 {
    (ratio * 1e3).round() / 1e3
}
