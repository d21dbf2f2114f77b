//! One row of the suite: what is sent, and what must come.

use super::code::PROTOCOL_ERROR;

/// A deviation of many rows.
pub const GENERAL: &str =
    "The connection ends as it must, but with PROTOCOL_ERROR where a code of its own is asked for.";

/// A sentence of an RFC, put to the test.
pub struct Case {
    /// The section that it stands in, of RFC 9113 or (`HPACK …`) of RFC 7541.
    pub section: &'static str,
    pub name: &'static str,
    /// Whether the connection begins with nothing but its bytes.
    pub is_bare: bool,
    pub steps: Vec<Step>,
    pub verdict: Verdict,
    /// Why the edge does otherwise than the section says, where it does. The verdict is then what it does.
    pub deviation: Option<&'static str>,
}

pub enum Step {
    Sends(Vec<u8>),
    /// The same, each byte by itself.
    Trickles(Vec<u8>),
    /// Says that nothing more will come.
    Ends,
    Hears(Wanted),
}

/// What must come before the next step.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The end of an answer with this status.
    Answer(u32, u16),
    /// The same, with this body.
    Body(u32, Vec<u8>),
    /// The head of an answer, and of its body just so many bytes.
    Bytes(u32, usize),
    /// A stream's end, by one of these codes.
    Reset(u32, &'static [u32]),
    /// So many acknowledgements of SETTINGS since the first.
    Acknowledged(usize),
    Pong([u8; 8]),
    /// The same, and no other.
    OnlyPong([u8; 8]),
}

/// How it must end.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Requests on the connection are still answered.
    Serves,
    /// A connection error of one of these codes: GOAWAY, then the end (§5.4.1).
    Fails(&'static [u32]),
    /// The end of the connection, with or without GOAWAY.
    Closes,
    /// A stream error of one of these codes (§5.4.2); the connection still serves.
    Resets(u32, &'static [u32]),
    /// A stream error or a connection error.
    FailsOrResets(u32, &'static [u32]),
    /// A malformed request: a stream error, or an answer that says so (§8.1.1). The connection still serves.
    Refuses(u32),
    /// What is too large: an answer that says so, a stream error or a connection error.
    Limits(u32),
    /// Either the end of the connection or an answer to the next request.
    Withstands,
}

/// A row that only says what is sent.
pub fn case(section: &'static str, name: &'static str) -> Case {
    Case { section, name, is_bare: false, steps: Vec::new(), verdict: Verdict::Serves, deviation: None }
}

impl Case {
    /// Nothing is said for it: neither preface nor SETTINGS.
    pub fn bare(self) -> Case {
        Case { is_bare: true, ..self }
    }

    /// These bytes in one write, together with those of a `sends` before.
    pub fn sends(mut self, bytes: impl AsRef<[u8]>) -> Case {
        match self.steps.last_mut() {
            Some(Step::Sends(before)) => before.extend_from_slice(bytes.as_ref()),
            _ => self.steps.push(Step::Sends(bytes.as_ref().to_vec())),
        }
        self
    }

    /// These bytes, each by itself.
    pub fn trickles(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.steps.push(Step::Trickles(bytes.as_ref().to_vec()));
        self
    }

    /// The client closes its half of the connection.
    pub fn ends(mut self) -> Case {
        self.steps.push(Step::Ends);
        self
    }

    pub fn hears(mut self, wanted: Wanted) -> Case {
        self.steps.push(Step::Hears(wanted));
        self
    }

    /// The request on this stream is answered 200.
    pub fn answered(self, stream: u32) -> Case {
        self.hears(Wanted::Answer(stream, 200))
    }

    fn must(self, verdict: Verdict) -> Case {
        Case { verdict, ..self }
    }

    pub fn fails(self, codes: &'static [u32]) -> Case {
        self.must(Verdict::Fails(codes))
    }

    pub fn closes(self) -> Case {
        self.must(Verdict::Closes)
    }

    pub fn resets(self, stream: u32, codes: &'static [u32]) -> Case {
        self.must(Verdict::Resets(stream, codes))
    }

    pub fn fails_or_resets(self, stream: u32, codes: &'static [u32]) -> Case {
        self.must(Verdict::FailsOrResets(stream, codes))
    }

    /// A malformed request (§8.1.1). That it may end the connection is said in §5.4.1.
    pub fn malformed(self, stream: u32) -> Case {
        self.fails_or_resets(stream, &[PROTOCOL_ERROR])
    }

    pub fn refuses(self, stream: u32) -> Case {
        self.must(Verdict::Refuses(stream))
    }

    pub fn limits(self, stream: u32) -> Case {
        self.must(Verdict::Limits(stream))
    }

    pub fn withstands(self) -> Case {
        self.must(Verdict::Withstands)
    }

    /// A connection error as the section has it, but of the general type.
    pub fn in_general_terms(self) -> Case {
        self.fails(&[PROTOCOL_ERROR]).deviates(GENERAL)
    }

    /// What is written is what the edge does, not what the section says: for this reason.
    pub fn deviates(self, reason: &'static str) -> Case {
        Case { deviation: Some(reason), ..self }
    }
}
