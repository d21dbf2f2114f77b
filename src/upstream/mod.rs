//! Live backends: their addresses, signals and connections.

pub mod attempt;
pub mod backend;
pub mod deferrals;
pub mod failure;
pub mod gate;
pub mod h1;
mod introduction;
mod limits;
pub mod peer;
mod peers;
pub mod pool;
pub mod resolve;

pub use attempt::Attempt;
pub use backend::Backend;
pub use failure::Failure;
pub use h1::{Connection, Connections, Request, introduced};
pub use introduction::Introduction;
pub use pool::{Member, Pool};
