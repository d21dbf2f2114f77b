//! The connections to all backends: who asks gets a place on one that has room, or waits for one that is being made.
//!
//! No more connections are made at a time than those who wait will fill: of a hundred requests that come at once one connects.
//! It is made in a task of its own, so that it stands also where who wanted it first has left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use pingora::connectors::TransportConnector;
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::sync::watch;

use super::dial::dial;
use super::link::{self, Link, Slot};
use super::request::Request;
use super::stream::Stream;
use crate::config::Http2;
use crate::upstream::Failure;

/// Shelves, so that threads seldom meet.
const SHELVES: usize = 16;

/// What became of a connection that was being made: how long its TLS handshake took, if there was one.
type Made = Result<Option<Duration>, Failure>;
/// Where that is told.
type Making = watch::Receiver<Option<Made>>;

/// Connections to all backends.
pub struct Links {
    tls: Arc<TransportConnector>,
    shelves: [Mutex<HashMap<u64, Group>>; SHELVES],
}

/// The connections to one backend (and under one rule of trust).
#[derive(Default)]
struct Group {
    links: Vec<Arc<Link>>,
    being_made: Vec<Waited>,
    /// How many streams the last one took.
    room: Option<usize>,
}

/// A connection that is being made.
struct Waited {
    making: Making,
    /// Those who wait for it.
    by: usize,
}

/// A place on a connection.
pub struct Place {
    slot: Slot,
    /// Whether the connection was made for it, and how long the TLS handshake took, if there was one.
    pub made: Option<Option<Duration>>,
}

impl Links {
    /// None yet; `tls` makes the handshake where there is one.
    pub fn new(tls: Arc<TransportConnector>) -> Arc<Links> {
        Arc::new(Links { tls, shelves: std::array::from_fn(|_| Mutex::default()) })
    }

    /// A place on a connection to `peer`, which has this `key`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn enter(self: &Arc<Self>, key: u64, peer: &Arc<HttpPeer>, config: &Http2) -> Result<Place, Failure> {
        let mut made = None;
        loop {
            let (mut making, is_first) = match self.find(key, peer, config) {
                Ok(slot) => return Ok(Place { slot, made }),
                Err(making) => making,
            };
            let told = making.wait_for(Option::is_some).await.ok().and_then(|told| *told);
            let handshake = told.unwrap_or(Err(Failure::ConnectFailed))?;
            if is_first {
                made = Some(handshake);
            }
        }
    }

    /// A place, or the connection to wait for and whether it is made for who asks.
    fn find(self: &Arc<Self>, key: u64, peer: &Arc<HttpPeer>, config: &Http2) -> Result<Slot, (Making, bool)> {
        let mut shelf = self.shelf(key).lock();
        let group = shelf.entry(key).or_default();
        group.links.retain(|link| !link.is_closed());
        if let Some(slot) = group.links.iter().find_map(Link::enter) {
            return Ok(slot);
        }
        let room = group.room.unwrap_or(config.max_streams as usize);
        // One whose task has ended without a word is none.
        group.being_made.retain(|waited| waited.making.has_changed().is_ok());
        if let Some(waited) = group.being_made.iter_mut().find(|waited| waited.by < room) {
            waited.by += 1;
            return Err((waited.making.clone(), false));
        }
        let (tell, making) = watch::channel(None);
        group.being_made.push(Waited { making: making.clone(), by: 1 });
        let (links, peer, config, own) = (self.clone(), peer.clone(), *config, making.clone());
        tokio::spawn(async move {
            let made = links.make(key, &peer, &config, &own).await;
            tell.send_replace(Some(made));
        });
        Err((making, true))
    }

    /// Makes a connection, and puts it where it is found.
    async fn make(self: &Arc<Self>, key: u64, peer: &HttpPeer, config: &Http2, own: &Making) -> Made {
        let dialled = dial(peer, &self.tls, config).await;
        let mut shelf = self.shelf(key).lock();
        let group = shelf.entry(key).or_default();
        group.being_made.retain(|waited| !waited.making.same_channel(own));
        let dialled = dialled.inspect_err(|_| group.links.retain(|link| !link.is_closed()))?;
        let link = Link::new(dialled.send, config);
        group.room = Some(link.room().max(1));
        let links = Arc::downgrade(self);
        let forget = move || {
            if let Some(links) = links.upgrade() {
                links.forget(key);
            }
        };
        let idle = peer.idle_timeout().unwrap_or_default();
        tokio::spawn(link::drive(dialled.connection, Arc::downgrade(&link), *config, idle, forget));
        group.links.push(link);
        Ok(dialled.handshake)
    }

    /// Lets go of those that are closed.
    fn forget(&self, key: u64) {
        let mut shelf = self.shelf(key).lock();
        let Some(group) = shelf.get_mut(&key) else { return };
        group.links.retain(|link| !link.is_closed());
        if group.links.is_empty() && group.being_made.is_empty() {
            shelf.remove(&key);
        }
    }

    /// Asks on a connection of its own, which ends with the exchange.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn ask_alone(&self, peer: &HttpPeer, config: &Http2, request: &Request) -> Result<Stream, Failure> {
        let dialled = dial(peer, &self.tls, config).await?;
        let link = Link::new(dialled.send, config);
        let idle = peer.idle_timeout().unwrap_or_default();
        tokio::spawn(link::drive(dialled.connection, Arc::downgrade(&link), *config, idle, || {}));
        link.enter().ok_or(Failure::StreamRefused)?.send(request, &HeaderMap::new())
    }

    fn shelf(&self, key: u64) -> &Mutex<HashMap<u64, Group>> {
        &self.shelves[(key as usize) % SHELVES]
    }
}

impl Place {
    /// Begins an exchange, with `more` fields in its request's head.
    ///
    /// # Errors
    /// [`Failure::StreamRefused`] if the connection takes no more of them, [`Failure::WriteFailed`] if the head cannot be
    /// written; nothing was sent then.
    pub fn send(self, request: &Request, more: &HeaderMap) -> Result<Stream, Failure> {
        let stream = self.slot.send(request, more)?;
        Ok(if self.made.is_some() { stream.on_fresh() } else { stream })
    }
}
