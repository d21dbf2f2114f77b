//! A new configuration in place of the old, all of it or nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::edge::Edge;
use crate::telemetry::{Event, ReloadResult, Topic, Turn};
use crate::{clock, config};

/// How often the files of certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(2);

/// Reloads one edge from where its configuration came from.
pub struct Reloader {
    edge: Arc<Edge>,
    source: Option<PathBuf>,
    /// One reload at a time: two signals must not build on the same predecessor.
    turn: Mutex<()>,
    last: Mutex<Option<Last>>,
}

/// What a reload has done.
#[derive(Debug)]
pub struct Applied {
    /// The generation now in use.
    pub generation: u64,
    /// What is different, a line each.
    pub changes: Vec<String>,
    /// What the operator should know, a line each.
    pub warnings: Vec<String>,
}

/// What became of the last reload.
#[derive(Clone, Debug)]
pub struct Last {
    /// When it was.
    pub time: SystemTime,
    /// Whether it was applied.
    pub result: ReloadResult,
    /// What is different, a line each; or what is wrong, a paragraph each.
    pub lines: Vec<String>,
}

/// Why a reload was rejected; the old snapshot is still in use.
#[derive(Debug)]
pub enum Rejected {
    /// The edge was not started from a file.
    NoSource,
    /// What is wrong, a paragraph each.
    Problems(Vec<String>),
}

impl Reloader {
    /// Reloads `edge` from `source`.
    pub fn new(edge: Arc<Edge>, source: Option<PathBuf>) -> Reloader {
        Reloader { edge, source, turn: Mutex::new(()), last: Mutex::new(None) }
    }

    /// Reads, checks and publishes. Must run on the edge's runtime, where the new pools start their work.
    ///
    /// # Errors
    /// Everything that is wrong with the files; nothing has changed then.
    pub fn reload(&self) -> Result<Applied, Rejected> {
        let _turn = self.turn.lock();
        let result = self.attempt();
        match &result {
            Ok(applied) => {
                self.ended(ReloadResult::Applied, &applied.changes);
                log::info!("reloaded: generation {} is in use", applied.generation);
                applied.changes.iter().for_each(|change| log::info!("reload: {change}"));
                applied.warnings.iter().for_each(|warning| log::warn!("{warning}"));
            }
            Err(Rejected::NoSource) => log::warn!("nothing to reload: the configuration did not come from a file"),
            Err(Rejected::Problems(problems)) => {
                self.ended(ReloadResult::Rejected, problems);
                problems.iter().for_each(|problem| log::error!("{problem}"));
                log::error!("reload rejected: generation {} stays in use", self.edge.peek().generation());
            }
        }
        result
    }

    /// Puts in use what is in the files of certificates, each time that has changed; whoever renews them need not tell.
    /// Never ends. What cannot be used is told once, and the old certificates stay.
    pub async fn watch_certificates(&self) {
        let mut told = Vec::new();
        loop {
            tokio::time::sleep(CERTIFICATES_EVERY).await;
            let config = self.edge.snapshot().config().clone();
            if config.listeners.iter().all(|listener| listener.tls.is_none()) {
                continue;
            }
            // Files may be on a disk that is slow: not on a thread that serves.
            let read = tokio::task::spawn_blocking(move || config.with_certificates_read_anew()).await;
            match read {
                Ok(Ok(None)) => told.clear(),
                Ok(Ok(Some(_))) => told = self.renew().err().unwrap_or_default(),
                Ok(Err(mistakes)) => {
                    if told != mistakes {
                        mistakes.iter().for_each(|mistake| log::error!("certificates stay as they were: {mistake}"));
                        told = mistakes;
                    }
                }
                Err(e) => log::error!("reading certificates failed: {e}"),
            }
        }
    }

    /// Reads the certificates once more, while no reload is under way, and publishes.
    fn renew(&self) -> Result<(), Vec<String>> {
        let _turn = self.turn.lock();
        let Some(config) = self.edge.snapshot().config().with_certificates_read_anew()? else { return Ok(()) };
        let next = self.edge.publish(config)?;
        let why = format!("certificates have changed: generation {} is in use", next.generation());
        log::info!("{why}");
        self.edge.metrics().journal().note(Event {
            time: clock::wall(),
            topic: Topic::Reload,
            turn: Turn::Neutral,
            pool: None,
            backend: None,
            what: ReloadResult::Applied.as_str(),
            why,
        });
        Ok(())
    }

    /// What became of the last one; `None` while there was none.
    pub fn last(&self) -> Option<Last> {
        self.last.lock().clone()
    }

    fn ended(&self, result: ReloadResult, lines: &[String]) {
        let (time, metrics) = (clock::wall(), self.edge.metrics());
        metrics.reloaded(result);
        let generation = self.edge.peek().generation();
        let (turn, why) = match result {
            ReloadResult::Applied => (Turn::Neutral, format!("generation {generation} is in use")),
            ReloadResult::Rejected => (Turn::Worse, format!("generation {generation} stays in use")),
        };
        metrics.journal().note(Event {
            time,
            topic: Topic::Reload,
            turn,
            pool: None,
            backend: None,
            what: result.as_str(),
            why,
        });
        *self.last.lock() = Some(Last { time, result, lines: lines.to_vec() });
    }

    fn attempt(&self) -> Result<Applied, Rejected> {
        let source = self.source.as_deref().ok_or(Rejected::NoSource)?;
        let text = |problems: Vec<config::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let loaded = config::load(source).map_err(|problems| Rejected::Problems(text(problems)))?;
        let before = self.edge.snapshot();
        let changes = config::Diff::between(before.config(), &loaded.config);
        let level = loaded.config.log.level;
        let next = self.edge.publish(loaded.config).map_err(Rejected::Problems)?;
        set_log_level(level);
        let changes = changes.to_string().lines().map(str::to_owned).collect();
        Ok(Applied { generation: next.generation(), changes, warnings: text(loaded.warnings) })
    }
}

/// Sets the level of the operator's log, unless `RUST_LOG` has the say.
pub fn set_log_level(level: log::LevelFilter) {
    if std::env::var_os("RUST_LOG").is_none() {
        log::set_max_level(level);
    }
}
