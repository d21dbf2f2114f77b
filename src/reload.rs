//! A new configuration in place of the old, all of it or nothing.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config;
use crate::edge::Edge;
use crate::telemetry::ReloadResult;

/// Reloads one edge from where its configuration came from.
pub struct Reloader {
    edge: Arc<Edge>,
    source: Option<PathBuf>,
    /// One reload at a time: two signals must not build on the same predecessor.
    turn: Mutex<()>,
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
        Reloader { edge, source, turn: Mutex::new(()) }
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
                self.edge.metrics().reloaded(ReloadResult::Applied);
                log::info!("reloaded: generation {} is in use", applied.generation);
                applied.changes.iter().for_each(|change| log::info!("reload: {change}"));
                applied.warnings.iter().for_each(|warning| log::warn!("{warning}"));
            }
            Err(Rejected::NoSource) => log::warn!("nothing to reload: the configuration did not come from a file"),
            Err(Rejected::Problems(problems)) => {
                self.edge.metrics().reloaded(ReloadResult::Rejected);
                problems.iter().for_each(|problem| log::error!("{problem}"));
                log::error!("reload rejected: generation {} stays in use", self.edge.peek().generation());
            }
        }
        result
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
