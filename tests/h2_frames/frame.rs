//! Frames as bytes (RFC 9113 §4.1), right or wrong.

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PUSH_PROMISE: u8 = 0x5;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;
/// A type that nobody has defined.
pub const UNKNOWN: u8 = 0xbb;

pub const NONE: u8 = 0;
pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITISED: u8 = 0x20;

/// A setting's identifier (RFC 9113 §6.5.2).
pub const HEADER_TABLE_SIZE: u16 = 0x1;
pub const ENABLE_PUSH: u16 = 0x2;
pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub const MAX_FRAME_SIZE: u16 = 0x5;
pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// The largest window (RFC 9113 §6.9.1).
pub const LARGEST_WINDOW: u32 = 0x7fff_ffff;
/// The window that connections and streams begin with (RFC 9113 §6.9.2): bytes.
pub const FIRST_WINDOW: u32 = 65_535;
/// The largest payload that may be sent to who has said nothing of it (RFC 9113 §4.2): bytes.
pub const FRAME_SIZE: usize = 16_384;

/// What a client begins with, before its SETTINGS (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bit that is reserved in identifiers and increments.
pub const RESERVED: u32 = 1 << 31;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

pub fn headers(stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

pub fn continuation(stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        values.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, NONE, 0, payload)
}

pub fn ping(payload: &[u8; 8]) -> Vec<u8> {
    frame(PING, NONE, 0, payload)
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, NONE, stream, increment.to_be_bytes())
}

pub fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, NONE, stream, code.to_be_bytes())
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, NONE, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// What PRIORITY carries, and HEADERS with that flag (RFC 9113 §6.3): of a weight from 1 to 256.
pub fn dependency(on: u32, weight: u16) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[u8::try_from(weight - 1).unwrap()]].concat()
}

pub fn priority(stream: u32, on: u32, weight: u16) -> Vec<u8> {
    frame(PRIORITY, NONE, stream, dependency(on, weight))
}

/// A payload of PADDED frames: says that it is followed by `said` bytes of padding, and is followed by `padding`.
pub fn padded(said: u8, payload: impl AsRef<[u8]>, padding: usize) -> Vec<u8> {
    [&[said], payload.as_ref(), &vec![0; padding]].concat()
}
