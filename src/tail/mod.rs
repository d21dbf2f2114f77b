//! Tail latency: signals, budgets and states. Time and chance are arguments.

pub mod backoff;
pub mod budget;
pub mod ewma;
pub mod health;
pub mod window;
