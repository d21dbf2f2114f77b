//! Who runs on which core.

use std::fs;
use std::process::{Command, Stdio};

/// Two cores, by number: one for the edge that is measured, one for the load and the origin.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) edge: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two this process may use; it is bound to the second.
    pub(crate) fn take() -> Result<Cores, String> {
        let status = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        let [edge, load] = numbers(list.trim()).first_chunk().copied().ok_or_else(|| {
            format!("two cores are needed, one for the edge and one for the load; this process may use {}", list.trim())
        })?;
        let own = std::process::id().to_string();
        let bound = Command::new("taskset").args(["-pc", &load.to_string(), &own]).stdout(Stdio::null()).status();
        match bound {
            Ok(status) if status.success() => Ok(Cores { edge, load }),
            Ok(status) => Err(format!("taskset could not bind this process to core {load}: {status}")),
            Err(error) => Err(format!("taskset (of util-linux) is needed: {error}")),
        }
    }
}

/// A command that runs `program` on a core.
pub(crate) fn on(core: usize, program: &std::path::Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// Of a list as in `0-2,5`.
fn numbers(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}
