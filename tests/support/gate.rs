//! A barrier that a test opens by hand.

use tokio::sync::watch;

use super::patiently;

/// Everyone who arrives waits until the gate is opened; then it stays open.
#[derive(Clone, Debug)]
pub struct Gate {
    open: watch::Sender<bool>,
    arrivals: watch::Sender<usize>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate { open: watch::Sender::new(false), arrivals: watch::Sender::new(0) }
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// How many have come here so far, through or not.
    pub fn arrivals(&self) -> usize {
        *self.arrivals.borrow()
    }

    /// Waits until `n` have come here.
    pub async fn arrived(&self, n: usize) {
        let mut arrivals = self.arrivals.subscribe();
        patiently(arrivals.wait_for(|seen| *seen >= n), || format!("{n} at the gate, there are {}", self.arrivals()))
            .await
            .expect("the gate holds its own sender");
    }

    /// Arrives, and waits for the gate to be open.
    pub async fn pass(&self) {
        self.arrivals.send_modify(|n| *n += 1);
        self.open.subscribe().wait_for(|open| *open).await.expect("the gate holds its own sender");
    }
}
