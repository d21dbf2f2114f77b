//! Which route a request takes: the most specific match, never the order written.
//!
//! Order-dependent tables fail silently: a broad route moved up in its file, or into a file that sorts earlier, takes
//! traffic from a narrow one, and nothing says so. Here the order is a property of the patterns ([`Table`] states it),
//! and a route that can never be reached is an error ([`unreachable()`]).

mod host;
mod path;
mod pattern;
mod shadow;
mod table;

pub use host::HostPattern;
pub use path::{Glob, PathPattern};
pub use pattern::BadPattern;
pub use shadow::{Shadow, unreachable};
pub use table::Table;
