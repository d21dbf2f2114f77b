//! Tail latency: signals, budgets and states. Time and chance are arguments.

pub mod ages;
pub mod amplification;
pub mod backoff;
pub mod budget;
pub mod class;
pub mod copies;
pub mod deadline;
pub mod deferred;
pub mod delays;
pub mod ewma;
pub mod exceedance;
pub mod health;
pub mod heard;
pub mod hedging;
pub mod knee;
pub mod limit;
pub mod probation;
pub mod queue;
pub mod race;
pub mod rate;
pub mod signals;
mod sketch;
pub mod stalls;
pub mod throttle;
mod token_bucket;
pub mod window;
