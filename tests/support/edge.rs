//! An edge of a test's own, on ports of its own, in this process.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hedgerow::config;
use hedgerow::endpoint::Endpoint;
use hedgerow::server::Running;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::client::{self, Client, Request};
use super::{Folder, Origin, Response, eventually, patiently};

/// A running edge.
pub struct Edge {
    running: Arc<Running>,
    addr: SocketAddr,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    file: Option<(Folder, PathBuf)>,
}

impl Edge {
    /// Runs with this configuration; listeners on free ports and no access log where it says nothing of them.
    pub async fn start(conf: &str) -> Edge {
        Edge::run(&filled(conf), None).await
    }

    /// The same from a file of its own, so that it can be rewritten and reloaded.
    pub async fn from_file(conf: &str) -> Edge {
        let folder = Folder::new();
        let conf = filled(conf);
        let path = folder.write("edge.toml", &conf);
        Edge::run(&conf, Some((folder, path))).await
    }

    /// One pool `web` over these origins and one route for everything. `more` goes on where the route's keys end:
    /// first keys of the route, then any tables (`[route.cache]`, `[pool.timeouts]`, `[server.limits]`, …).
    pub async fn over(origins: &[&Origin], more: &str) -> Edge {
        let addrs: Vec<SocketAddr> = origins.iter().map(|origin| origin.addr()).collect();
        Edge::start(&over(&addrs, more)).await
    }

    async fn run(conf: &str, file: Option<(Folder, PathBuf)>) -> Edge {
        let loaded = config::parse_str("test.toml", conf).unwrap_or_else(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("the test's configuration is refused:\n{}\nin\n{conf}", lines.join("\n"))
        });
        let source = file.as_ref().map(|(_, path)| path.clone());
        let running = Running::start(loaded.config, source).await.expect("the edge starts");
        let addresses: Vec<SocketAddr> = running.addresses().iter().filter_map(Endpoint::tcp).collect();
        let addr = addresses[0];
        let admin = running.admin().expect("tests leave the admin listener on");
        Edge { running: Arc::new(running), addr, addresses, admin, file }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same for each listener, in the order written.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the operator connects.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, target: &str) -> Response {
        client::get(self.addr, target).await
    }

    /// One request on a connection of its own.
    pub async fn fetch(&self, request: &Request) -> Response {
        client::fetch(self.addr, request).await
    }

    /// Sends bytes on a connection of their own and reads one answer.
    pub async fn fetch_raw(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.answer().await
    }

    /// The same, and the edge must then close.
    pub async fn refuses(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut client = self.client().await;
        client.send(bytes).await;
        let answer = client.answer().await;
        assert!(client.closed().await.is_empty(), "more was said after\n{answer}");
        answer
    }

    /// GETs `target` until the answer is no longer a plain hit; gives that first other answer.
    pub async fn first_after_hits(&self, target: &str) -> Response {
        eventually(&format!("{target} is no longer fresh"), || async {
            let answer = self.get(target).await;
            (answer.verdict() != "HIT").then_some(answer)
        })
        .await
    }

    /// One GET at the admin listener.
    pub async fn admin_get(&self, target: &str) -> Response {
        client::get(self.admin, target).await
    }

    /// Rewrites the configuration file.
    pub fn rewrite(&self, conf: &str) {
        let (folder, _) = self.file.as_ref().expect("this edge was not started from a file");
        folder.write("edge.toml", &filled(conf));
    }

    /// `POST /reload` at the admin listener.
    pub async fn reload(&self) -> Response {
        client::fetch(self.admin, &Request::post("/reload", "")).await
    }

    /// Starts to drain; done when the task is.
    pub fn drain(&self, grace: Duration) -> JoinHandle<()> {
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            patiently(running.drain(grace), || "the edge is drained".to_owned()).await;
        })
    }

    /// The sum of a metric's samples that carry all these labels; 0 if there are none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.admin_get("/metrics").await.expect(200).text();
        page.lines().filter_map(|line| sample(line, name, labels)).sum()
    }

    /// Waits until a metric has a value; it may settle after the response it counts.
    pub async fn metric_becomes(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        eventually(&format!("{name}{labels:?} is {value}"), || async {
            #[expect(clippy::float_cmp, reason = "counts are whole")]
            (self.metric(name, labels).await == value).then_some(())
        })
        .await;
    }

    /// What `/pools` says of a backend: the object that names its address.
    pub async fn backend(&self, addr: SocketAddr) -> Value {
        let pools = self.admin_get("/pools").await.expect(200).json();
        find(&pools, &addr.to_string()).unwrap_or_else(|| panic!("{addr} is not in {pools:#}")).clone()
    }

    /// A backend's state as `/pools` says it.
    pub async fn state(&self, addr: SocketAddr) -> String {
        let backend = self.backend(addr).await;
        backend["state"].as_str().unwrap_or_else(|| panic!("no state in {backend}")).to_ascii_lowercase()
    }

    /// Waits until a backend is in this state.
    pub async fn state_becomes(&self, addr: SocketAddr, state: &str) {
        eventually(&format!("{addr} is {state}"), || async { (self.state(addr).await == state).then_some(()) }).await;
    }

    /// Waits until a backend is no longer healthy.
    pub async fn is_taken_out(&self, addr: SocketAddr) {
        eventually(&format!("{addr} is out"), || async { (self.state(addr).await != "healthy").then_some(()) }).await;
    }
}

/// One pool `web` over these addresses and one route for everything, then `more`.
pub fn over(addrs: &[SocketAddr], more: &str) -> String {
    let mut text = pool("web", addrs, "");
    let _ = writeln!(text, "[[route]]\npool = \"web\"\n{more}");
    text
}

/// A `[[pool]]` with keys of its own.
pub fn pool(name: &str, addrs: &[SocketAddr], keys: &str) -> String {
    let addrs: Vec<String> = addrs.iter().map(|addr| format!("\"{addr}\"")).collect();
    format!("[[pool]]\nname = \"{name}\"\nbackends = [{}]\n{keys}\n", addrs.join(", "))
}

/// A pool `web` that asks `first` as long as it may, and `second` else: by weight, with no chance in it.
pub fn first_and_second(first: SocketAddr, second: SocketAddr, pool_keys: &str, more: &str) -> String {
    format!(
        "[[pool]]\nname = \"web\"\n{pool_keys}\n\
         backends = [{{ address = \"{first}\", weight = 1000 }}, {{ address = \"{second}\", weight = 1 }}]\n\
         [[route]]\npool = \"web\"\n{more}\n"
    )
}

/// The text with listeners on free ports and the access log off, where it does not say otherwise.
fn filled(conf: &str) -> String {
    let mut text = conf.to_owned();
    for (section, key, value) in [
        ("server", "listen", "[\"127.0.0.1:0\"]"),
        ("server", "admin", "\"127.0.0.1:0\""),
        ("access_log", "format", "\"off\""),
    ] {
        if says(conf, section, key) || (key == "listen" && conf.contains("[[listener]]")) {
            continue;
        }
        let header = format!("[{section}]");
        match text.lines().any(|line| line.trim() == header) {
            true => text = text.replacen(&header, &format!("{header}\n{key} = {value}"), 1),
            // At the end: the lines of what was written keep their numbers.
            false => text += &format!("\n{header}\n{key} = {value}\n"),
        }
    }
    if !conf.contains("reveal") {
        // The reasons are what tests ask about.
        text += "\n[cache.reveal]\nclients = [\"127.0.0.0/8\"]\n";
    }
    text
}

/// Whether `key = …` stands below `[section]`.
fn says(conf: &str, section: &str, key: &str) -> bool {
    let lines = conf.lines().map(str::trim).skip_while(|line| *line != format!("[{section}]")).skip(1);
    lines.take_while(|line| !line.starts_with('[')).any(|line| line.split('=').next().unwrap_or_default().trim() == key)
}

fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (written, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ').map(|_| rest)?),
    };
    let carries = |(key, value): &(&str, &str)| written.contains(&format!("{key}=\"{value}\""));
    labels.iter().all(carries).then(|| value.trim().parse().unwrap_or_else(|_| panic!("not a sample: {line}")))
}

/// The innermost object in which some value is this text.
fn find<'v>(value: &'v Value, text: &str) -> Option<&'v Value> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| find(item, text)),
        Value::Object(fields) => fields
            .values()
            .find_map(|field| find(field, text))
            .or_else(|| fields.values().any(|field| field.as_str() == Some(text)).then_some(value)),
        _ => None,
    }
}
