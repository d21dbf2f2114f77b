//! The operator's listener: health, configuration, pools, slow requests, metrics, reload, purge, explain. On loopback unless configured
//! otherwise, since whoever reaches it may reload and purge.

mod explain;
mod pools;
mod purge;
mod slow;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use http::{Method, Response};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde_json::json;

use crate::clock;
use crate::edge::Edge;
use crate::reload::{Rejected, Reloader};
use crate::telemetry::{CacheSample, Scrape, page};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The admin application of one edge.
pub struct Admin {
    edge: Arc<Edge>,
    reloader: Arc<Reloader>,
}

impl Admin {
    /// Serves `edge`.
    pub fn new(edge: Arc<Edge>, reloader: Arc<Reloader>) -> Admin {
        Admin { edge, reloader }
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        let read = method == Method::GET || method == Method::HEAD;
        match path {
            "/reload" if method == Method::POST => self.reload(),
            "/reload" | "/purge" | "/explain" => Answer::not_allowed("POST"),
            "/healthz" | "/readyz" | "/config" | "/pools" | "/slow" | "/metrics" | "/" if !read => {
                Answer::not_allowed("GET, HEAD")
            }
            "/" => Answer::text(200, INDEX),
            "/healthz" => Answer::text(200, "ok\n"),
            "/readyz" => self.ready(),
            "/config" => Answer::json(200, &self.edge.peek().config().to_json()),
            "/pools" => Answer::json(200, &pools::page(&self.edge.snapshot(), clock::now())),
            "/slow" => Answer::json(200, &slow::page(&self.edge)),
            "/metrics" => Answer { status: 200, kind: page::CONTENT_TYPE, body: self.metrics(), allow: None },
            _ => Answer::text(404, INDEX),
        }
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
    body: String,
    allow: Option<&'static str>,
}

impl Answer {
    fn text(status: u16, body: &str) -> Answer {
        Answer { status, kind: TEXT, body: body.to_owned(), allow: None }
    }

    fn json(status: u16, body: &serde_json::Value) -> Answer {
        Answer { status, kind: JSON, body: format!("{body:#}\n"), allow: None }
    }

    fn not_allowed(allow: &'static str) -> Answer {
        Answer { status: 405, kind: TEXT, body: format!("use {allow}\n"), allow: Some(allow) }
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

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        let from_a_page = request.headers.contains_key(ORIGIN);
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
            _ => self.answer(&method, &path),
        };
        if answer.status == 413 || answer.status == 403 {
            // The rest of the body stands before the next request.
            session.set_keepalive(None);
        }
        let mut response = Response::builder()
            .status(answer.status)
            .header(CONTENT_TYPE, answer.kind)
            .header(CONTENT_LENGTH, answer.body.len())
            .header(CACHE_CONTROL, "no-store");
        if let Some(allow) = answer.allow {
            response = response.header(ALLOW, allow);
        }
        response.body(answer.body.into_bytes()).unwrap_or_default()
    }
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

fn thousandths(ratio: f64) -> f64 {
    (ratio * 1e3).round() / 1e3
}
