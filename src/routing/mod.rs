//! Which route a request takes: the most specific match, never the order written.

mod host;
mod path;
mod table;

pub use host::HostPattern;
pub use path::PathPattern;
pub use table::Table;
