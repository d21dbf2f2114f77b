//! A collector of traces that remembers what it was told, over gRPC or HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{Headers, Origin, Reply, eventually};

/// Where spans arrive.
pub struct Collector(Way);

enum Way {
    Grpc { addr: SocketAddr, told: Arc<Mutex<Vec<Told>>> },
    Http(Origin),
}

/// One request of an exporter.
#[derive(Clone, Debug)]
pub struct Told {
    pub headers: Headers,
    pub message: Vec<u8>,
}

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub name: String,
    /// `server`, `client` or `internal`.
    pub kind: &'static str,
    /// Nanoseconds since the epoch.
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, Value>,
    /// What went wrong, if it is marked as an error.
    pub error: Option<String>,
    /// What is told of who sent it.
    pub resource: BTreeMap<String, Value>,
}

impl Span {
    /// An attribute; null if it is not there.
    pub fn get(&self, name: &str) -> Value {
        self.attributes.get(name).cloned().unwrap_or_default()
    }

    /// Asserts these attributes.
    #[track_caller]
    pub fn says(&self, attributes: &[(&str, Value)]) -> &Span {
        for (name, value) in attributes {
            assert_eq!(self.get(name), *value, "{name} of {self:#?}");
        }
        self
    }
}

impl Collector {
    /// One that speaks OTLP over gRPC.
    pub async fn grpc() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let shared = told.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Collector(Way::Grpc { addr, told })
    }

    /// One that speaks OTLP over HTTP.
    pub async fn http() -> Collector {
        let origin = Origin::start().await;
        origin.on("/v1/traces", Reply::ok(""));
        Collector(Way::Http(origin))
    }

    /// Keys of `[tracing]` that name it.
    pub fn keys(&self) -> String {
        match &self.0 {
            Way::Grpc { addr, .. } => format!("endpoint = \"http://{addr}\"\n"),
            Way::Http(origin) => format!("endpoint = \"http://{}\"\nprotocol = \"http\"\n", origin.addr()),
        }
    }

    /// All it was told so far.
    pub fn told(&self) -> Vec<Told> {
        match &self.0 {
            Way::Grpc { told, .. } => told.lock().expect("not held across a panic").clone(),
            Way::Http(origin) => {
                let seen = origin.seen("/v1/traces").into_iter().filter(|seen| seen.whole);
                seen.map(|seen| Told { headers: seen.headers, message: seen.body }).collect()
            }
        }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.told().iter().flat_map(|told| spans(&told.message)).collect()
    }

    /// The spans of the traces that ask for this path, the server's first, once there are `n`.
    pub async fn of(&self, path: &str, n: usize) -> Vec<Span> {
        eventually(&format!("{n} spans for {path}"), || async {
            let all = self.spans();
            let traces: Vec<&str> =
                all.iter().filter(|span| span.get("url.path") == path).map(|span| span.trace.as_str()).collect();
            let mut found: Vec<Span> =
                all.iter().filter(|span| traces.contains(&span.trace.as_str())).cloned().collect();
            found.sort_by_key(|span| (span.kind != "server", span.start));
            (found.len() >= n).then_some(found)
        })
        .await
    }

    /// The only span for this path.
    pub async fn only(&self, path: &str) -> Span {
        let mut spans = self.of(path, 1).await;
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans.remove(0)
    }

    /// How many traces ask for this path so far.
    pub fn count(&self, path: &str) -> usize {
        self.spans().iter().filter(|span| span.get("url.path") == path).count()
    }
}

/// One connection of an exporter: each request is a message in a frame of gRPC, and answered with an empty one.
async fn serve(stream: TcpStream, told: Arc<Mutex<Vec<Told>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let told = told.clone();
        tokio::spawn(async move {
            assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
            let (parts, mut body) = request.into_parts();
            let mut bytes = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                let _open = body.flow_control().release_capacity(data.len());
                bytes.extend_from_slice(&data);
            }
            assert_eq!(bytes[0], 0, "not compressed");
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let message = bytes[5..].to_vec();
            told.lock().expect("not held across a panic").push(Told { headers: Headers(headers), message });
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
            let _gone = stream.send_data(Bytes::from_static(&[0; 5]), false);
            let _gone = stream.send_trailers(trailers);
        });
    }
}

fn spans(message: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(message).expect("a request of OTLP");
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let told = attributes(&resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        let of_scopes = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(of_scopes.map(|span| read(&span, told.clone())));
    }
    spans
}

fn read(span: &proto::Span, resource: BTreeMap<String, Value>) -> Span {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let status = span.status.clone().unwrap_or_default();
    Span {
        trace: digits(&span.trace_id),
        id: digits(&span.span_id),
        parent: digits(&span.parent_span_id),
        name: span.name.clone(),
        kind: match span.kind() {
            proto::span::SpanKind::Server => "server",
            proto::span::SpanKind::Client => "client",
            proto::span::SpanKind::Internal => "internal",
            other => panic!("{other:?}"),
        },
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        error: (status.code() == proto::status::StatusCode::Error).then_some(status.message),
        resource,
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, Value> {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::BoolValue(yes)) => json!(yes),
        other => panic!("{other:?}"),
    };
    let found: BTreeMap<String, Value> = pairs.iter().map(|pair| (pair.key.clone(), value(&pair.value))).collect();
    assert_eq!(found.len(), pairs.len(), "an attribute is there twice: {pairs:#?}");
    found
}
