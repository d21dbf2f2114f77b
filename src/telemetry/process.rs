//! The process as its kernel sees it, read from `/proc` at each scrape; nothing where there is no `/proc`.
//!
//! The names are those every Prometheus client library uses, so existing dashboards find them.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every architecture Linux has today. Asking for it
/// (`sysconf`) would take unsafe code.
const TICKS_PER_SECOND: u64 = 100;

/// What could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// CPU time spent, user and system.
    pub cpu: Option<Duration>,
    /// Resident memory in bytes.
    pub resident: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The soft limit of open file descriptors; `None` also when unlimited.
    pub max_fds: Option<u64>,
    /// Start, since the Unix epoch.
    pub start: Option<Duration>,
}

impl Process {
    /// This process now. Five short reads; the kernel makes the contents, no disk is touched.
    pub fn read() -> Process {
        Process::read_from(Path::new("/proc"))
    }

    fn read_from(proc: &Path) -> Process {
        let text = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
        let stat = text("self/stat");
        Process {
            cpu: cpu(&stat),
            resident: field(&text("self/status"), "VmRSS:").map(|kib| kib.saturating_mul(1024)),
            // The directory being read is itself open.
            open_fds: fs::read_dir(proc.join("self/fd")).ok().map(|fds| (fds.count() as u64).saturating_sub(1)),
            max_fds: field(&text("self/limits"), "Max open files"),
            start: start(&stat, &text("stat")),
        }
    }
}

/// The number after `name` on the line that begins with it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// Field `number` of `/proc/self/stat`, counted from 1 as in proc(5). The second is the program's name in
/// parentheses, which may hold spaces and parentheses itself.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1000 / TICKS_PER_SECOND))
}

fn cpu(stat: &str) -> Option<Duration> {
    Some(ticks(stat_field(stat, 14)?.saturating_add(stat_field(stat, 15)?)))
}

fn start(stat: &str, system: &str) -> Option<Duration> {
    Some(Duration::from_secs(field(system, "btime ")?) + ticks(stat_field(stat, 22)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a (b) c) S 1 42 42 0 -1 4194560 5 0 0 0 150 25 0 0 20 0 4 0 500 1 1";

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(cpu(STAT), Some(Duration::from_millis(1750)));
        assert_eq!(start(STAT, "cpu 1 2\nbtime 1700000000\n"), Some(Duration::from_secs(1_700_000_005)));
    }

    #[test]
    fn without_proc_nothing_is_known() {
        assert_eq!(Process::read_from(Path::new("/nonexistent")), Process::default());
        assert_eq!(cpu(""), None);
        assert_eq!(field("VmRSS:\n", "VmRSS:"), None);
        assert_eq!(field("Max open files  unlimited  unlimited  files", "Max open files"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_files_and_a_start() {
        let process = Process::read();
        assert!(process.resident.is_some_and(|bytes| bytes > 100_000));
        assert!(process.open_fds.is_some_and(|n| n >= 3));
        assert!(process.start.is_some_and(|t| t > Duration::from_secs(1_000_000_000)));
        assert!(process.cpu.is_some());
    }
}
