//! Closing so that the client can still read what was said last: closing a socket with unread bytes resets the connection
//! and may take the answer with it (RFC 9112 §9.6).

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the client may still send before the connection is cut.
const BYTES: usize = 1024 * 1024;
/// How long the client may still send before the connection is cut.
pub(super) const TIME: Duration = Duration::from_secs(2);

/// Ends our side, and reads what still comes of the other for a while.
pub(super) async fn close(mut stream: Stream) {
    if AsyncWriteExt::shutdown(&mut stream).await.is_err() {
        return;
    }
    let drain = async {
        let mut left = BYTES;
        let mut scrap = [0u8; 4096];
        while left > 0 {
            match stream.read(&mut scrap).await {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
    };
    // Either way the connection is dropped next.
    let _ = tokio::time::timeout(TIME, drain).await;
}
