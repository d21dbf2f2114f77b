//! Processor time of a process and its children, from Linux's /proc.

use std::fs;
use std::time::Duration;

/// What a tick in /proc is on every Linux (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// A process and its children, as they are now.
pub(crate) fn family(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|process| *process == parent || number(*process, 1) == Some(u64::from(parent))).collect()
}

/// What they have used so far; `None` if one has ended.
pub(crate) fn used(processes: &[u32]) -> Option<Duration> {
    let ticks = processes.iter().map(|process| Some(number(*process, 11)? + number(*process, 12)?));
    ticks.sum::<Option<u64>>().map(|ticks| TICK * ticks as u32)
}

/// A number of a process's `stat`, counted from the one after its name, the state.
fn number(process: u32, place: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, parentheses as well.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(place)?.parse().ok()
}
