//! Tail latency: signals, budgets and states. Time and chance are arguments.

pub mod ages;
pub mod backoff;
pub mod budget;
pub mod deadline;
pub mod ewma;
pub mod health;
pub mod window;
