//! Live backends: their addresses, signals and connections.

pub mod attempt;
pub mod backend;
pub mod deferrals;
pub mod failure;
pub mod gate;
mod limits;
pub mod peer;
mod peers;
pub mod pool;
pub mod resolve;

pub use attempt::Attempt;
pub use backend::Backend;
pub use failure::Failure;
pub use pool::{Member, Pool};
