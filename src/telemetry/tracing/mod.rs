//! Traces on their way to a collector.
//!
//! * [`Trace`] what a request carries with it: ids, and whether it was drawn; [`record`] what is said of it at its end
//! * [`Tracer`] where that is handed in; `batches` the thread that takes it on; `span` what it becomes; `collector` the exporter
//!
//! Of a request that is not recorded there are ids and the times of its attempts, nothing else. What is recorded is copied
//! once, at its end, and turned into spans on the exporter's thread.

mod batches;
mod collector;
pub mod record;
mod span;
mod tracer;

pub use record::{Recorded, Trace};
pub use tracer::Tracer;
