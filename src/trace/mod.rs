//! Traces, as far as they can be decided: whose trace a request belongs to, and whether it is recorded.
//!
//! * [`context`] ids and `traceparent`; [`state`] `tracestate`; [`baggage`] `baggage`: what came, strictly and within bounds
//! * [`sampling`] what is recorded: a share at the start, and at the end what is worth it
//!
//! The fields are those of W3C Trace Context (Level 1) and W3C Baggage.

pub mod baggage;
pub mod context;
pub mod sampling;
pub mod state;
