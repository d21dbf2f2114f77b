//! An edge before one origin that has few places, for tests of what becomes of those who find none.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::edge::{Edge, pool};
use super::{Client, Folder, Gate, Origin, Reply, Request, eventually};

/// A route for everything that stores nothing.
pub const PLAIN: &str = "[[route]]\npool = \"web\"\n[route.cache]\nenabled = false\n";

/// What an answer takes that need not wait, once [`Busy::patient`] has shown it: from it follows that one waits for a
/// second at the most, in which a test comes to its end. After half of it the newest go first within their class, so no
/// test is to go by the order within one.
const USUAL: Duration = Duration::from_millis(100);

/// The origin answers `/held` once the gate is open, `/slow` after [`USUAL`], and anything else at once with its target.
pub struct Busy {
    pub origin: Origin,
    pub edge: Edge,
    pub gate: Gate,
    routes: String,
    log: PathBuf,
    _folder: Folder,
}

impl Busy {
    /// `keys` are the pool's, `routes` come after it.
    pub async fn start(keys: &str, routes: &str) -> Busy {
        let (origin, gate, folder) = (Origin::start().await, Gate::new(), Folder::new());
        origin.otherwise(|seen| Reply::ok(&seen.target));
        origin.on("/held", Reply::ok("held").held_by(&gate)).on("/slow", Reply::ok("slow").after(USUAL));
        let log = folder.path().join("access.log");
        let access_log = format!("[access_log]\nformat = \"json\"\noutput = \"{}\"\n", log.display());
        let routes = format!("{routes}{access_log}");
        let edge = Edge::from_file(&(pool("web", &[origin.addr()], keys) + &routes)).await;
        Busy { origin, edge, gate, routes, log, _folder: folder }
    }

    /// The same with an edge that knows that answers take [`USUAL`], and so lets requests wait for a second.
    pub async fn patient(keys: &str, routes: &str) -> Busy {
        let busy = Busy::start(keys, routes).await;
        let mut client = busy.edge.client().await;
        for _ in 0..8 {
            client.get("/slow").await.expect(200);
        }
        busy.is(0, 0).await;
        busy
    }

    /// Reloads with other keys of the pool.
    pub async fn reload(&self, keys: &str) {
        self.edge.rewrite(&(pool("web", &[self.origin.addr()], keys) + &self.routes));
        self.edge.reload().await.expect(200);
    }

    /// Has `n` more requests held at the origin.
    pub async fn hold(&self, n: usize) -> Vec<Client> {
        let before = self.gate.arrivals();
        let mut clients = Vec::new();
        for _ in 0..n {
            clients.push(self.ask(&Request::get("/held")).await);
        }
        self.gate.arrived(before + n).await;
        clients
    }

    /// Sends a request on a connection of its own.
    pub async fn ask(&self, request: &Request) -> Client {
        let mut client = self.edge.client().await;
        client.ask(request).await;
        client
    }

    /// Sends a request that is then the `n`th to wait.
    pub async fn queue(&self, request: &Request, n: u64) -> Client {
        let client = self.ask(request).await;
        self.edge.metric_becomes("hedgerow_pool_queued", &[("pool", "web")], n as f64).await;
        client
    }

    /// How many have a place, and how many wait for one.
    pub async fn now(&self) -> (u64, u64) {
        let pools = self.edge.admin_get("/pools").await.expect(200).json();
        let of = |key: &str| pools["pools"][0][key].as_u64().unwrap_or_else(|| panic!("no {key} in {pools:#}"));
        (of("admitted"), of("queued"))
    }

    /// Waits until so many have a place and so many wait for one.
    pub async fn is(&self, admitted: u64, queued: u64) {
        eventually(&format!("{admitted} admitted, {queued} queued"), || async {
            (self.now().await == (admitted, queued)).then_some(())
        })
        .await;
    }

    /// Lets go whoever is held, and waits until nobody has a place or wants one.
    pub async fn ends(&self) {
        self.gate.open();
        self.is(0, 0).await;
    }

    /// The access log's only line for this path.
    pub async fn line(&self, path: &str) -> Value {
        let mut lines = self.lines(path, 1).await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.remove(0)
    }

    /// The access log's lines for this path, once there are `n`.
    pub async fn lines(&self, path: &str, n: usize) -> Vec<Value> {
        eventually(&format!("{n} lines for {path} in the access log"), || async {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let lines: Vec<Value> = whole.filter_map(|line| serde_json::from_str(line).ok()).collect();
            let lines: Vec<Value> = lines.into_iter().filter(|line| line["path"] == path).collect();
            (lines.len() >= n).then_some(lines)
        })
        .await
    }

    /// How many of this class were refused for this reason.
    pub async fn shed(&self, class: &str, reason: &str) -> f64 {
        self.edge.metric("hedgerow_shed_total", &[("class", class), ("reason", reason)]).await
    }
}
