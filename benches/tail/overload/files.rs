//! How many connections may be open.

use std::error::Error;

/// Ten times the capacity for as long as clients wait, at the load and at the backends, with room.
const NEEDED: u64 = 20_000;

/// Raises this process's limit of open files, which the proxies inherit; an error if it stays lower than overload takes, since
/// that would be mistaken for what a proxy does.
pub(crate) fn allow() -> Result<(), Box<dyn Error>> {
    match rlimit::increase_nofile_limit(NEEDED)? {
        NEEDED.. => Ok(()),
        limit => Err(format!("`ulimit -Hn` is {limit}; overload needs {NEEDED}").into()),
    }
}
