//! What edges are asked for and what has to come, and how it gets into their caches.

use std::error::Error;
use std::net::SocketAddr;

use crate::answer;
use crate::edges::Edge;
use crate::load::Load;
use crate::load::expected::{Expected, Mark};
use crate::load::pace::Pace;
use crate::load::requests::Requests;
use crate::scenario::{Ask, Class};
use crate::serve::origin::{ETAG, FILL};

/// Connections on which a cache is filled. So many requests Hedgerow always lets through to a backend, however slow that has
/// become meanwhile: nothing is shed.
const FILLING: usize = 4;

/// Sees that an edge sends what it has to, byte by byte, and puts all that will be asked for into its cache.
pub(crate) fn store(edge: &Edge) -> Result<(), Box<dyn Error>> {
    let whole = Ask { conditional: false, ..edge.entrant.ask };
    let cached = edge.entrant.kind.mark() != Mark::None && whole.class == Class::Hit;
    if cached {
        let mut load = Load::new(Expected { hit: false, ..expected(edge, whole) })?;
        // One that comes while the same is being fetched would be a hit: no key twice.
        load.connect(edge.address, FILLING.min(whole.keys as usize))?;
        load.run(&mut Requests::each(&path(whole), whole.keys), Pace::Count(whole.keys as usize))?;
        load.expect(expected(edge, whole));
        load.run(&mut Requests::each(&path(whole), whole.keys), Pace::Count(whole.keys as usize))?;
    }
    // The floor has nothing but its one response.
    if edge.entrant.kind.mark() == Mark::None && edge.entrant.ask.conditional {
        return Ok(());
    }
    compare(edge.address, whole)
}

/// Asks for the first key and compares what comes.
fn compare(address: SocketAddr, ask: Ask) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let answer = runtime.block_on(answer::get(&mut None, address, &key(ask), "ETag"))?;
    if answer.status != 200 || answer.field.as_deref() != Some(ETAG) {
        return Err(format!("status {} and ETag {:?} to a GET", answer.status, answer.field).into());
    }
    if answer.body().len() != ask.body || answer.body().iter().any(|byte| *byte != FILL) {
        return Err("a body that is not the origin's".into());
    }
    Ok(())
}

/// What is sent of `ask`.
pub(crate) fn requests(ask: Ask) -> Requests {
    match ask.keys {
        1 if ask.conditional => Requests::one(&key(ask), &format!("If-None-Match: {ETAG}\r\n")),
        1 => Requests::one(&key(ask), ""),
        keys => Requests::zipf(&path(ask), keys),
    }
}

/// What has to come back from `edge`.
pub(crate) fn expected(edge: &Edge, ask: Ask) -> Expected {
    let (status, body) = if ask.conditional { (304, 0) } else { (200, ask.body) };
    Expected { status, body, mark: edge.entrant.kind.mark(), hit: ask.class == Class::Hit }
}

/// Of all that is asked for, but for the key.
fn path(ask: Ask) -> String {
    format!("/{}/{}/", ask.class.name(), ask.body)
}

/// The path of the first.
pub(crate) fn key(ask: Ask) -> String {
    path(ask) + "0000000"
}
