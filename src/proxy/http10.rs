//! HTTP/1.0 clients, who know no chunks (RFC 9112 §6.1).
//!
//! Pingora frames every response of unknown length in chunks, and does so after the last hook of the proxy. A
//! downstream module still sees the head: without a framing field the body ends with the connection.

use std::any::Any;

use async_trait::async_trait;
use http::Version;
use http::header::TRANSFER_ENCODING;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};

/// Makes the module of each request.
pub(super) struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Http10 { client: false })
    }
}

struct Http10 {
    /// Whether the client speaks HTTP/1.0.
    client: bool,
}

#[async_trait]
impl HttpModule for Http10 {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.client = request.version == Version::HTTP_10;
        Ok(())
    }

    async fn response_header_filter(&mut self, response: &mut ResponseHeader, _end: bool) -> Result<()> {
        if self.client {
            response.remove_header(&TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
