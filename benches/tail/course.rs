//! What happens in a run: the requests, and what goes wrong.

use std::time::Duration;

use crate::configs::Setup;
use crate::content::Target;
use crate::fault::Fault;
use crate::load::{self, Request};
use crate::scenario::{Phases, Scenario};

/// What happens in a run.
pub(crate) struct Course {
    pub(crate) seed: u64,
    pub(crate) phases: Phases,
    pub(crate) faults: Vec<Fault>,
    pub(crate) setup: Setup,
    pub(crate) requests: Vec<Request>,
    /// How long a client waits for an answer.
    pub(crate) patience: Duration,
}

impl Scenario {
    /// What happens in a run of it.
    pub(crate) fn course(&self, phases: Phases, seed: u64) -> Course {
        let phases = Phases { fault: phases.fault * self.longer, ..phases };
        let all = phases.warm + phases.fault + phases.recovery;
        let requests = (all.as_secs_f64() * f64::from(self.rate)).round() as usize;
        let request = |request| {
            let due = load::due(request, self.rate);
            let hot = self.traffic.is_hot(request, due < phases.warm);
            let target = if hot { Target::Hot } else { Target::Own(request) };
            Request { due, target, fields: String::new() }
        };
        Course {
            seed,
            phases,
            faults: self.faults.clone(),
            setup: Setup { caching: self.caching, workers: None },
            requests: (0..requests).map(request).collect(),
            patience: load::PATIENCE,
        }
    }
}
