//! Live backends: their addresses, signals and connections.

pub mod backend;
pub mod failure;
pub mod peer;
pub mod pool;
pub mod resolve;

pub use backend::{Attempt, Backend};
pub use failure::Failure;
pub use pool::{Member, Pool};
