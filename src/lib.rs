//! Hedgerow: a caching reverse proxy that keeps the tail short.
//!
//! # The module map
//!
//! Pure policy: plain values in, decisions out. No socket, clock, lock, log or randomness of its own.
//! * [`units`] ratios, sizes, weights, points in time; [`uri`] the one normalisation of a request target; [`endpoint`] where something listens
//! * [`cache`] what HTTP says about storing, freshness, validation, variants and keys
//! * [`balance`] which backend; [`tail`] latency signals, budgets, backoff, health
//! * [`grpc`] what the status of a call means; [`routing`] which route; [`trace`] whose trace, and whether it is recorded; [`trailers`] what may stand after a body
//!
//! The thin adapter around it.
//! * [`config`] what was written, checked into what is true; [`snapshot`] one immutable generation of it
//! * [`listener`] what is spoken before HTTP: PROXY headers, TLS; [`certificate`] what clients are shown
//! * [`upstream`] live backends and their signals; [`store`] the bounded memory behind the cache; [`coding`] compresses and decodes
//! * [`lane`] the front of every connection: reads heads within limits; [`proxy`] the request, phase by phase;
//!   [`last_word`] what the first says for the second when time is up, [`pace`] how long the client lets both wait,
//!   [`postscript`] what comes after bodies; [`caller`] who asks
//! * [`telemetry`] metrics, access log; [`admin`] the operator's listener, [`ask`] asks it; [`server`] starts and drains it all
//!
//! # The import rule
//!
//! Imports go downwards only, as listed in ARCHITECTURE.md; `tests/layering.rs` enforces it.

pub mod admin;
pub mod ask;
pub mod balance;
pub mod bypass;
pub mod cache;
pub mod caller;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod coding;
pub mod config;
pub mod connections;
pub mod demo;
pub mod edge;
pub mod endpoint;
pub mod grpc;
pub mod health_check;
pub mod lane;
pub mod last_word;
pub mod listener;
pub mod pace;
pub mod postscript;
pub mod proxy;
pub mod reload;
pub mod routing;
pub mod server;
pub mod snapshot;
pub mod store;
pub mod tail;
pub mod telemetry;
pub mod text;
pub mod trace;
pub mod trailers;
pub mod units;
pub mod upstream;
pub mod uri;
