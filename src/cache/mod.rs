//! HTTP caching as pure functions: headers and times in, decisions with a named reason out (RFC 9110, 9111, 9211).
//!
//! In the order of a request: [`lookup`] may this request be answered from memory, [`key`] what
//! does it ask for (with [`query`] and [`device`]), [`vary`] which variant, [`reuse`] is the stored copy good enough, [`validate`] what is said to
//! client and origin when it is not; then for the answer [`directives`] or those of a [`targeted`] field,
//! [`freshness`] how long it holds, [`deception`] is it what its path says, [`storable::judge`] may it be stored, and [`status`] how all of it is told,
//! [`proxy_status`] beside it how the answer was come by, [`server_timing`] what its time went to. In which [`codings`] it goes out is
//! for [`compression`].
//! Before its time a stored response ends by
//! [`invalidate`] (what a request that changes things makes invalid) or [`purge`] (what an operator names), by URL or by
//! [`tags`].

pub mod codings;
pub mod compression;
pub mod content_range;
pub mod date;
pub mod deception;
pub mod device;
pub mod digest;
pub mod directives;
mod etag;
pub mod freshness;
pub mod invalidate;
pub mod key;
mod languages;
mod list;
pub mod lookup;
pub mod parts;
pub mod proxy_status;
pub mod purge;
pub mod query;
pub mod range;
pub mod rescue;
pub mod reuse;
pub mod server_timing;
pub mod status;
pub mod storable;
mod structured;
pub mod tags;
pub mod targeted;
pub mod urgency;
pub mod validate;
pub mod vary;
