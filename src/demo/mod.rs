//! The demo's backends: three small servers in this process, one of which degrades on a schedule.
//!
//! * [`script`] what they answer and how long it takes, a pure function
//! * `connection` the HTTP around it
//!
//! They are embedded so that a first look at an edge needs nothing installed and nothing configured.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

mod connection;
pub mod script;

use crate::clock;
use crate::units::Tick;
use script::{BACKENDS, Backend, PHASE, SLOWDOWN};

/// The running backends; dropping it ends them and their connections.
#[derive(Debug)]
pub struct Demo {
    addresses: [SocketAddr; BACKENDS.len()],
    _servers: JoinSet<()>,
}

/// Starts the backends on free ports of the loopback interface.
///
/// # Errors
/// No port can be had.
pub async fn start() -> io::Result<Demo> {
    let started = clock::now();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); BACKENDS.len()];
    let mut servers = JoinSet::new();
    for (address, backend) in addresses.iter_mut().zip(BACKENDS) {
        let listener = TcpListener::bind(*address).await?;
        *address = listener.local_addr()?;
        servers.spawn(accept(listener, backend, started));
    }
    Ok(Demo { addresses, _servers: servers })
}

async fn accept(listener: TcpListener, backend: Backend, started: Tick) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it a small answer may wait for an acknowledgement; harmless if it cannot be set.
                let _best_effort = stream.set_nodelay(true);
                connections.spawn(async move {
                    if let Err(error) = connection::serve(stream, backend, started).await {
                        log::debug!("demo backend {}: {error}", backend.name);
                    }
                });
            }
            Err(error) => {
                log::warn!("demo backend {} cannot accept: {error}", backend.name);
                // Out of descriptors, as a rule: some must be closed first.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

impl Demo {
    /// Where the backends listen, in the order of [`BACKENDS`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What to try and what to look for, for an edge at `edge` with its admin listener at `admin`.
    pub fn banner(&self, edge: SocketAddr, admin: SocketAddr) -> String {
        let mut backends = String::new();
        for (backend, address) in BACKENDS.iter().zip(self.addresses) {
            let note = match backend.pace {
                script::Pace::Steady => String::new(),
                script::Pace::Degrading => {
                    let phase = PHASE.as_secs();
                    format!("   {phase} s normal, {phase} s {SLOWDOWN} times slower, and so on")
                }
            };
            // Writing to a String cannot fail.
            let _infallible = writeln!(backends, "  {:<6} {address}{note}", backend.name);
        }
        format!(
            r#"Hedgerow is listening on http://{edge} (admin: http://{admin}), in front of three backends:

{backends}
Try, in another terminal:

  A miss, then a hit. The second answer says "hit" in Cache-Status, has an Age, and takes no 40 ms:
    curl -s -o /dev/null -D - -w '%{{time_total}} s\n' http://{edge}/hit
    curl -s -o /dev/null -D - -w '%{{time_total}} s\n' http://{edge}/hit

  A collapse. Five clients ask at once for a page that takes a second to make. One of them fetches it, four
  wait for that and are told "collapsed" or "hit"; all are done after one second, not five:
    for i in 1 2 3 4 5; do curl -s -o /dev/null -D - http://{edge}/slow | grep -i '^cache-status' & done; wait

  The slow backend avoided. Count who served 400 requests, 8 at a time, now and {phase} s later:
    curl -Z --no-progress-meter --parallel-max 8 'http://{edge}/api?[1-400]' | sort | uniq -c

  Why: each backend's state, latency and share, and what was done about the slow one. In a browser or a terminal:
    http://{admin}/
    hedgerow top --admin {admin}

  Two languages of one page, stored side by side:
    curl -si -H 'Accept-Language: de' http://{edge}/vary
    curl -si -H 'Accept-Language: fr' http://{edge}/vary

  What is for one client is not stored:
    curl -si http://{edge}/private

  The metrics:
    curl -s http://{admin}/metrics | grep hedgerow_requests_total

http://{edge}/ links to all pages. Ctrl-C ends the demo.
"#,
            phase = PHASE.as_secs(),
        )
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: SocketAddr, target: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn each_backend_answers_under_its_own_name() {
        let demo = start().await.unwrap();
        for (backend, address) in BACKENDS.iter().zip(demo.addresses()) {
            assert!(address.ip().is_loopback());
            let text = ask(*address, "/healthz").await;
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(text.contains(&format!("\r\nX-Backend: {}\r\n", backend.name)), "{text}");
        }
    }

    #[tokio::test]
    async fn dropping_the_demo_closes_its_connections() {
        let demo = start().await.unwrap();
        let mut stream = TcpStream::connect(demo.addresses()[0]).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        drop(demo);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"ok\n"));
    }

    #[tokio::test]
    async fn the_banner_names_addresses_and_pages_that_exist() {
        let demo = start().await.unwrap();
        let edge = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
        let banner = demo.banner(edge, admin);
        for address in demo.addresses() {
            assert!(banner.contains(&address.to_string()));
        }
        let mut pages = 0;
        for (at, url) in banner.match_indices("http://127.0.0.1:8080/") {
            let target = banner[at + url.len() - 1..].split(['?', '\'', ' ', '\n']).next().unwrap();
            let request = script::Request { method: "GET", target, ..script::Request::default() };
            let answer = BACKENDS[0].answer(&request, Duration::ZERO, &mut fastrand::Rng::with_seed(1));
            assert_eq!(answer.status, 200, "{target}");
            pages += 1;
        }
        assert!(pages >= script::PAGES.len());
    }
}
