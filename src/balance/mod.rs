//! Which backend gets the next request: pure functions of what is known about each.

pub mod exclude;
pub mod least_loaded;
pub mod load;
mod places;
pub mod reported;
pub mod slow_start;
