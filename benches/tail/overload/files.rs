//! How many connections may be open.

use std::error::Error;
use std::fs;

/// Ten times the capacity for as long as clients wait, at the load and at the backends, with room.
const NEEDED: u64 = 20_000;

/// An error if this process may not open as many files as overload takes, which would be mistaken for what a proxy does.
pub(crate) fn check() -> Result<(), Box<dyn Error>> {
    // Elsewhere than on Linux nobody tells.
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return Ok(()) };
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft.and_then(|soft| soft.parse::<u64>().ok()) {
        Some(soft) if soft < NEEDED => Err(format!("`ulimit -n` is {soft}; overload needs {NEEDED}").into()),
        _ => Ok(()),
    }
}
