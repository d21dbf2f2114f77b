//! The exporter: OTLP over gRPC or HTTP, as the configuration says.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use opentelemetry_semantic_conventions::resource::{SERVICE_NAME, SERVICE_VERSION};

use crate::config::{self, Tracing};

/// `service.instance.id`, which tells edges apart.
const SERVICE_INSTANCE_ID: &str = "service.instance.id";

/// An exporter to the collector of `config`, which is connected to when there is something to send. Must be called on a
/// runtime.
///
/// # Errors
/// What cannot be had on this machine, such as its certificate authorities.
pub(super) fn exporter(config: &Tracing) -> Result<SpanExporter, String> {
    let mut exporter = match config.protocol {
        config::Protocol::Grpc => grpc(config),
        config::Protocol::Http => http(config),
    }?;
    exporter.set_resource(&resource(config));
    Ok(exporter)
}

fn grpc(config: &Tracing) -> Result<SpanExporter, String> {
    let value = |value: &str| HeaderValue::from_str(value).ok();
    let fields: HeaderMap =
        config.headers.iter().filter_map(|(name, secret)| Some((name.clone(), value(secret.reveal())?))).collect();
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(config.endpoint.to_string())
        .with_timeout(config.timeout)
        .with_metadata(MetadataMap::from_headers(fields));
    let builder =
        if is_https(config) { builder.with_tls_config(ClientTlsConfig::new().with_native_roots()) } else { builder };
    builder.build().map_err(|e| e.to_string())
}

fn http(config: &Tracing) -> Result<SpanExporter, String> {
    let headers: HashMap<String, String> =
        config.headers.iter().map(|(name, secret)| (name.to_string(), secret.reveal().to_owned())).collect();
    let builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url(config))
        .with_timeout(config.timeout)
        .with_headers(headers);
    let builder = if is_https(config) {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|e| format!("no certificate authorities: {e}"))?
            .https_only()
            .enable_http1()
            .build();
        builder.with_http_client(HyperClient::new(connector, config.timeout, None))
    } else {
        builder.with_http_client(HyperClient::with_default_connector(config.timeout, None))
    };
    builder.build().map_err(|e| e.to_string())
}

fn is_https(config: &Tracing) -> bool {
    config.endpoint.scheme_str() == Some("https")
}

/// The URL that batches are sent to: as it is written, or with OTLP's path where it has none.
fn url(config: &Tracing) -> String {
    let url = config.endpoint.to_string();
    if config.endpoint.path() == "/" { format!("{}/v1/traces", url.trim_end_matches('/')) } else { url }
}

/// What is told of this edge. An entry of the configuration goes before ours.
fn resource(config: &Tracing) -> Resource {
    let instance = format!("{:032x}", fastrand::u128(..));
    let ours = [
        KeyValue::new(SERVICE_NAME, config.service_name.clone()),
        KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(SERVICE_INSTANCE_ID, instance),
    ];
    let theirs = config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty().with_attributes(ours.into_iter().chain(theirs)).build()
}
