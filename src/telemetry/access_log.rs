//! The access log: one line per request, or per sampled request.
//!
//! A request formats its own line, on its own thread, into a buffer that the thread keeps; what is shared is only
//! the copy into the queue. Formatting on the writer's thread would need every field copied first and would make
//! one thread the limit of the whole edge.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::record::Record;
use super::sink::Output;
use super::writer::Queue;
use crate::config::{self, LogFormat};
use crate::units::Ratio;

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The access log; clones share it. When the last one is dropped, what is queued is written and the output closed.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    format: LogFormat,
    sample: Ratio,
    slow: Duration,
    queue: Arc<Queue>,
}

impl AccessLog {
    /// A log that is off.
    pub const fn off() -> AccessLog {
        AccessLog(None)
    }

    /// Opens the output and starts the thread that writes to it. Lost lines are added to `dropped`
    /// ([`super::Metrics::access_log_dropped`]).
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread not be started.
    pub fn start(config: &config::AccessLog, dropped: Counter) -> io::Result<AccessLog> {
        let Some(format) = config.format else { return Ok(AccessLog::off()) };
        let queue = Queue::start(Output::open(&config.output)?, dropped)?;
        Ok(AccessLog(Some(Arc::new(Open { format, sample: config.sample, slow: config.slow, queue }))))
    }

    /// Whether anything is logged.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it says what a client is and where it came from.
    pub fn tells_agent(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.format == LogFormat::Combined)
    }

    /// Logs a request, if it is sampled, was slow or has failed. Never blocks on the output.
    pub fn log(&self, record: &Record<'_>) {
        let Some(open) = &self.0 else { return };
        if is_kept(record, open.sample, open.slow, fastrand::f64) {
            // A thread that is ending has no buffer left; its line goes through one of its own.
            let formatted = LINE.try_with(|line| line.try_borrow_mut().map(|mut line| open.write(record, &mut line)));
            if !matches!(formatted, Ok(Ok(()))) {
                open.write(record, &mut Vec::new());
            }
        }
    }

    /// Opens the file anew by its name, after the lines logged so far: for rotation by renaming. An error is logged
    /// and the old file kept. Returns at once.
    pub fn reopen(&self) {
        if let Some(open) = &self.0 {
            open.queue.reopen();
        }
    }

    /// Waits until all lines logged so far are written, at most `patience`; how many are not. Blocks the thread.
    pub fn flush(&self, patience: Duration) -> u64 {
        self.0.as_ref().map_or(0, |open| open.queue.wait(patience))
    }

    /// Ends the log: later lines are lost and counted, those logged so far are waited for as by
    /// [`AccessLog::flush`].
    pub fn close(&self, patience: Duration) -> u64 {
        self.0.as_ref().map_or(0, |open| {
            open.queue.close();
            open.queue.wait(patience)
        })
    }
}

impl Open {
    fn write(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        line.clear();
        record.write(self.format, line);
        self.queue.push(line);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// `chance` is uniform in 0 to 1, without 1.
fn is_kept(record: &Record<'_>, sample: Ratio, slow: Duration, chance: impl FnOnce() -> f64) -> bool {
    record.must_be_kept(slow) || sample == Ratio::ONE || chance() < sample.get()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::record::tests::SAMPLE;
    use super::super::termination::Termination;
    use super::*;
    use crate::config::LogOutput;

    const LONG: Duration = Duration::from_secs(30);

    /// A directory of its own for one test, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("hedgerow-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _already_gone = fs::remove_dir_all(&self.0);
        }
    }

    const SLOW: Duration = Duration::from_secs(1);

    fn logging_to(path: PathBuf, sample: Ratio) -> AccessLog {
        let config =
            config::AccessLog { format: Some(LogFormat::Json), output: LogOutput::File(path), sample, slow: SLOW };
        AccessLog::start(&config, Counter::default()).unwrap()
    }

    #[test]
    fn a_file_is_appended_to() {
        let dir = Directory::new("append");
        let path = dir.0.join("access.log");
        fs::write(&path, "before\n").unwrap();
        let log = logging_to(path.clone(), Ratio::ONE);
        log.log(&SAMPLE);
        log.clone().log(&SAMPLE);
        assert_eq!(log.flush(LONG), 0);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "before");
        assert_eq!(lines[1], lines[2]);
    }

    #[test]
    fn a_rotated_file_is_left_to_its_new_name() {
        let dir = Directory::new("rotate");
        let (path, old) = (dir.0.join("access.log"), dir.0.join("access.log.1"));
        let log = logging_to(path.clone(), Ratio::ONE);
        log.log(&SAMPLE);
        assert_eq!(log.flush(LONG), 0);
        fs::rename(&path, &old).unwrap();
        log.log(&SAMPLE);
        log.reopen();
        assert_eq!(log.flush(LONG), 0);
        log.log(&SAMPLE);
        assert_eq!(log.close(LONG), 0);
        assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_failure_is_logged_whatever_the_sample() {
        let dir = Directory::new("sample");
        let path = dir.0.join("access.log");
        let log = logging_to(path.clone(), Ratio::ZERO);
        log.log(&SAMPLE);
        log.log(&Record { reason: Termination::UpstreamClosed, ..SAMPLE });
        assert_eq!(log.close(LONG), 0);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("\"reason\":\"upstream-closed\""));
    }

    #[test]
    fn the_sample_is_a_share_of_chance() {
        let half = Ratio::percent(50);
        assert!(is_kept(&SAMPLE, half, SLOW, || 0.49));
        assert!(!is_kept(&SAMPLE, half, SLOW, || 0.5));
        assert!(is_kept(&SAMPLE, Ratio::ONE, SLOW, || 1.0));
        assert!(!is_kept(&SAMPLE, Ratio::ZERO, SLOW, || 0.0));
        assert!(is_kept(&SAMPLE, Ratio::ZERO, SAMPLE.duration, || 0.0));
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_an_error_at_the_start() {
        let dir = Directory::new("denied");
        let output = LogOutput::File(dir.0.join("no/such/directory/access.log"));
        let config = config::AccessLog { format: Some(LogFormat::Logfmt), output, sample: Ratio::ONE, slow: SLOW };
        assert!(AccessLog::start(&config, Counter::default()).is_err());
    }

    #[test]
    fn a_log_that_is_off_opens_nothing() {
        let output = LogOutput::File(PathBuf::from("/no/such/directory/access.log"));
        let config = config::AccessLog { format: None, output, sample: Ratio::ONE, slow: SLOW };
        let log = AccessLog::start(&config, Counter::default()).unwrap();
        log.log(&SAMPLE);
        log.reopen();
        assert_eq!(log.close(LONG), 0);
    }
}
