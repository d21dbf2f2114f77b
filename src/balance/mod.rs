//! Which backend gets the next request: pure functions of what is known about each.

pub mod least_loaded;
pub mod slow_start;
