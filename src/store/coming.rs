//! A form that comes in with the response it is made of: what is compressed for who fetches it is not compressed again.

use bytes::Bytes;
use pingora::cache::storage::HitHandler;

use super::Store;
use super::entry::Place;
use super::hit::Following;
use super::meta::Serial;
use super::ready::Ready;
use super::room::Claim;
use crate::cache::codings::Coding;

/// The form of a response that is coming in.
#[derive(Debug)]
pub struct Coming {
    store: &'static Store,
    place: Place,
    serial: Serial,
    pieces: Vec<Bytes>,
    /// What it holds is accounted for with what fills hold.
    claim: Claim,
}

impl Coming {
    /// Of the response that `reader` reads while it comes in; `None` if it is another kind of reader.
    pub fn of(store: &'static Store, reader: &HitHandler) -> Option<Coming> {
        let following: &Following = reader.as_any().downcast_ref()?;
        let fill = following.fill();
        let claim = Claim::new(store.room.clone());
        Some(Coming { store, place: fill.place, serial: fill.serial, pieces: Vec::new(), claim })
    }

    /// Adds the next piece; false if there is no room for it, and so for the whole.
    pub fn add(&mut self, piece: &Bytes) -> bool {
        self.pieces.push(piece.clone());
        self.claim.grow(piece.len() as u64)
    }

    /// Keeps it with the response, if that has come in and is stored.
    pub fn keep(self, coding: Option<Coding>) {
        let stored = self.store.get(&self.place.slot).filter(|entry| entry.serial == self.serial);
        if let Some(entry) = stored {
            self.store.keep_form(&Ready::from(entry), coding, &self.pieces);
        }
    }
}
