//! Live backends: their addresses, signals and connections.

pub mod attempt;
pub mod backend;
pub mod connection;
pub mod connections;
pub mod deferrals;
pub mod failure;
pub mod gate;
pub mod h1;
pub mod h2;
mod io;
mod limits;
pub mod peer;
mod peers;
pub mod pool;
pub mod resolve;
pub mod verdict;

pub use attempt::Attempt;
pub use backend::Backend;
pub use connection::{Came, Connection, Fields, Request};
pub use connections::Connections;
pub use failure::Failure;
pub use pool::{Member, Pool};
