//! HTTP caching as pure functions: headers and times in, decisions with a named reason out (RFC 9110, 9111, 9211).

pub mod directives;
pub mod freshness;
pub mod key;
pub mod status;
pub mod storable;
pub mod validate;
pub mod vary;
