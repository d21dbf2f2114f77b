//! Why a fill came to nothing, for its operator and for its readers.

use pingora::{Error, ErrorType};

/// Why a response that came in was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// Longer than `max_object`.
    TooLarge,
    /// Fills in progress had used up their part of the memory.
    NoRoom,
    /// Its key was purged while it came in.
    Purged,
    /// Its length was not the one its head declared.
    LengthMismatch,
    /// It did not come to its end.
    Aborted,
}

impl NotStored {
    /// Every reason.
    pub const ALL: [NotStored; 5] =
        [NotStored::TooLarge, NotStored::NoRoom, NotStored::Purged, NotStored::LengthMismatch, NotStored::Aborted];

    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            NotStored::TooLarge => "too-large",
            NotStored::NoRoom => "no-room",
            NotStored::Purged => "purged",
            NotStored::LengthMismatch => "length-mismatch",
            NotStored::Aborted => "aborted",
        }
    }
}

/// Why a fill is over for its reader or its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// To a reader: it did not come to its end.
    Aborted,
    /// To a reader: it held up the others.
    FellBehind,
    /// To the writer: it is not going to be stored, and nobody reads it.
    Unread,
    /// To the writer: its length is not the one its head declared.
    LengthMismatch,
}

impl Broken {
    /// The word for logs.
    fn as_str(self) -> &'static str {
        match self {
            Broken::Aborted => "fill-aborted",
            Broken::FellBehind => "reader-fell-behind",
            Broken::Unread => "fill-unread",
            Broken::LengthMismatch => "fill-length-mismatch",
        }
    }

    /// As pingora wants it.
    pub(super) fn error(self) -> Box<Error> {
        let kind = match self {
            Broken::Aborted | Broken::FellBehind => ErrorType::ReadError,
            Broken::Unread | Broken::LengthMismatch => ErrorType::WriteError,
        };
        let mut e = Error::explain(kind, self.as_str());
        match self {
            Broken::Aborted | Broken::LengthMismatch => e.as_up(),
            Broken::FellBehind | Broken::Unread => e.as_down(),
        }
        e
    }
}
