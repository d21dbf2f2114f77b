//! The pictures as server-sent events (HTML, "9.2 Server-sent events"): one a second to each who looks.
//!
//! Who reads too slowly misses pictures and gets the newest next; who does not read at all is cut off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, TRANSFER_ENCODING};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Live;

/// How long a viewer may take to read one picture.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who looks.
pub(in crate::admin) struct Viewer {
    _seat: OwnedSemaphorePermit,
    frames: watch::Receiver<Arc<str>>,
}

impl Live {
    /// Lets one more look; `None` if too many do.
    pub(in crate::admin) fn viewer(&self) -> Option<Viewer> {
        let seat = self.seats.clone().try_acquire_owned().ok()?;
        Some(Viewer { _seat: seat, frames: self.frames.subscribe() })
    }

    /// Sends `viewer` what there is to see until it leaves, or the edge ends.
    ///
    /// # Errors
    /// It has left, or does not read.
    pub(in crate::admin) async fn show(&self, mut viewer: Viewer, session: &mut ServerSession) -> Result<()> {
        session.set_keepalive(None);
        session.set_write_timeout(Some(PATIENCE));
        let mut head = ResponseHeader::build(200, Some(3))?;
        head.insert_header(CONTENT_TYPE, "text/event-stream")?;
        head.insert_header(CACHE_CONTROL, "no-store")?;
        head.insert_header(TRANSFER_ENCODING, "chunked")?;
        session.write_response_header(Box::new(head)).await?;
        // At once what is known, then what comes.
        let first = self.frame().to_string();
        session.write_response_body(event(&first), false).await?;
        let cut = self.edge.cut();
        tokio::pin!(cut);
        loop {
            let frame = tokio::select! {
                changed = viewer.frames.changed() => match changed {
                    Ok(()) => viewer.frames.borrow_and_update().clone(),
                    Err(_) => break,
                },
                () = &mut cut => break,
            };
            session.write_response_body(event(&frame), false).await?;
        }
        session.write_response_body(Bytes::new(), true).await
    }
}

/// JSON on one line is a whole event.
fn event(json: &str) -> Bytes {
    format!("data: {json}\n\n").into()
}
