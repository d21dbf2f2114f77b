//! More than the backends can do: backends with workers and a queue, requests of three classes, and a spike.

pub(crate) mod arrivals;
pub(crate) mod capacity;
pub(crate) mod files;
pub(crate) mod measures;
pub(crate) mod report;
pub(crate) mod scenario;
