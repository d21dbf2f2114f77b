//! Which addresses a backend's name stands for, kept up to date in the background.
//!
//! A request never resolves a name: it finds the addresses that [`watch`] has last reported. Resolving on connect, as
//! most clients do, puts a lookup (and a broken resolver's five seconds) into the tail of some unlucky request; resolving
//! only at start-up sends traffic to addresses that have moved.
//!
//! * An answer holds for its TTL, within bounds. When the next lookup fails, even with "no such name", the last good
//!   answer stays in use: a DNS outage must not become ours, and an address that is really gone fails its health check.
//! * The hosts file comes first and is read each time, so that what it lists works without any name server.
//! * A missing `/etc/resolv.conf` is an error of each lookup that needs it, not of the start.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

/// How long answers are used and failures waited out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// An answer is used at least this long: a TTL of zero is no order to ask without pause.
    pub min_ttl: Duration,
    /// And at most this long before it is asked for again: a change takes no longer than this to be seen.
    pub max_ttl: Duration,
    /// From a first failure to the next try. Doubles with each failure in a row.
    pub retry: Duration,
    /// Where doubling ends.
    pub max_retry: Duration,
}

impl Params {
    /// One second to one minute, failures likewise: no name server minds one question a second.
    pub const DEFAULT: Params = Params {
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(60),
        retry: Duration::from_secs(1),
        max_retry: Duration::from_secs(60),
    };
}

impl Default for Params {
    fn default() -> Self {
        Params::DEFAULT
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In any order, perhaps with repetitions.
    pub addresses: Vec<IpAddr>,
    /// How long this may be believed.
    pub valid_for: Duration,
}

/// Why a name could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It is not a DNS name.
    #[error("not a valid name")]
    BadName,
    /// The name servers say there is no such name.
    #[error("no such name")]
    NoSuchName,
    /// It exists but has no address.
    #[error("the name has no address")]
    NoAddress,
    /// Neither the hosts file nor a name server to ask.
    #[error("not in the hosts file, and no name server is configured: {0}")]
    NoServer(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl ResolveError {
    /// The word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            ResolveError::BadName => "bad-name",
            ResolveError::NoSuchName => "no-such-name",
            ResolveError::NoAddress => "no-address",
            ResolveError::NoServer(_) => "no-server",
            ResolveError::TimedOut => "timed-out",
            ResolveError::Failed(_) => "failed",
        }
    }

    fn of(error: &NetError) -> ResolveError {
        match error {
            NetError::Timeout => ResolveError::TimedOut,
            error if error.is_nx_domain() => ResolveError::NoSuchName,
            error if error.is_no_records_found() => ResolveError::NoAddress,
            error => ResolveError::Failed(error.to_string()),
        }
    }
}

/// Someone to ask. Tests have their own.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, a DNS name and not an address.
    ///
    /// # Errors
    /// Why there are none.
    async fn lookup(&self, host: &str) -> Result<Answer, ResolveError>;
}

/// Reports the addresses of `host` to `on_change`, sorted and each once: first when they are first known, then whenever
/// they differ. Never with none. Never returns; drop it to stop.
pub async fn watch(host: &str, resolver: &dyn Resolver, params: Params, mut on_change: impl FnMut(Vec<IpAddr>)) {
    let mut known = Vec::new();
    let mut failing: Option<&'static str> = None;
    let mut retry = params.retry;
    loop {
        let answer = resolver.lookup(host).await.and_then(|mut answer| {
            answer.addresses.sort_unstable();
            answer.addresses.dedup();
            if answer.addresses.is_empty() { Err(ResolveError::NoAddress) } else { Ok(answer) }
        });
        match answer {
            Ok(Answer { addresses, valid_for }) => {
                if failing.take().is_some() {
                    log::info!("{host}: resolves again");
                }
                if known != addresses {
                    log::info!("{host}: {addresses:?}");
                    known.clone_from(&addresses);
                    on_change(addresses);
                }
                retry = params.retry;
                sleep(valid_for.min(params.max_ttl).max(params.min_ttl)).await;
            }
            Err(error) => {
                // Once for each new reason, not for each try.
                if failing.replace(error.as_str()) != Some(error.as_str()) {
                    log::warn!("{host}: cannot be resolved, {} known addresses stay in use: {error}", known.len());
                }
                sleep(retry).await;
                retry = (retry * 2).min(params.max_retry);
            }
        }
    }
}

/// A lookup that takes longer is given up; the name servers' own timeouts usually come before.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an entry of the hosts file, which has no TTL, is believed.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// The system's resolver: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
pub struct System {
    hosts: fn() -> io::Result<Hosts>,
    servers: fn() -> Result<(ResolverConfig, ResolverOpts), NetError>,
    /// Made when first needed; forgotten when it fails, since the servers may have been replaced.
    dns: Mutex<Option<TokioResolver>>,
}

impl System {
    /// Reads nothing yet, so it cannot fail.
    pub fn new() -> System {
        System {
            hosts: Hosts::from_system,
            servers: hickory_resolver::system_conf::read_system_conf,
            dns: Mutex::new(None),
        }
    }

    /// What the hosts file says of `host`; nothing if it cannot be read.
    async fn in_hosts(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let name = Name::from_utf8(host).map_err(|_| ResolveError::BadName)?;
        let read = self.hosts;
        let hosts = tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).unwrap_or_default();
        let lookup = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let lookups = [RecordType::A, RecordType::AAAA].into_iter().filter_map(lookup);
        Ok(lookups.flat_map(|lookup| addresses(&lookup).collect::<Vec<_>>()).collect())
    }

    /// The name servers' client.
    fn dns(&self) -> Result<TokioResolver, ResolveError> {
        let mut dns = self.dns.lock();
        if let Some(dns) = &*dns {
            return Ok(dns.clone());
        }
        let no_server = |error: NetError| ResolveError::NoServer(error.to_string());
        let (config, mut options) = (self.servers)().map_err(no_server)?;
        // Answers are kept by whoever watches, failures by nobody, and the hosts file was asked before.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let made = builder.with_options(options).build().map_err(no_server)?;
        *dns = Some(made.clone());
        Ok(made)
    }
}

impl Default for System {
    fn default() -> Self {
        System::new()
    }
}

#[async_trait]
impl Resolver for System {
    async fn lookup(&self, host: &str) -> Result<Answer, ResolveError> {
        let listed = self.in_hosts(host).await?;
        if !listed.is_empty() {
            return Ok(Answer { addresses: listed, valid_for: HOSTS_TTL });
        }
        let dns = self.dns()?;
        let found = match timeout(PATIENCE, dns.lookup_ip(host)).await {
            Ok(found) => found.map_err(|error| ResolveError::of(&error)),
            Err(_) => Err(ResolveError::TimedOut),
        };
        match found {
            Ok(found) => {
                let found = found.as_lookup();
                // The aliases on the way count too.
                let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                Ok(Answer { addresses: addresses(found).collect(), valid_for: Duration::from_secs(ttl.into()) })
            }
            Err(error) => {
                if !matches!(error, ResolveError::NoSuchName | ResolveError::NoAddress) {
                    *self.dns.lock() = None;
                }
                Err(error)
            }
        }
    }
}

fn addresses(lookup: &Lookup) -> impl Iterator<Item = IpAddr> + '_ {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA};
    use hickory_resolver::proto::rr::{RData, Record};
    use tokio::net::UdpSocket;
    use tokio::time::Instant;

    use super::*;

    /// Gives its answers one after the other, and says when it was asked.
    struct Script {
        answers: Mutex<VecDeque<Result<Answer, ResolveError>>>,
        asked: Mutex<Vec<Duration>>,
        start: Instant,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = Result<Answer, ResolveError>>) -> Script {
            let answers = Mutex::new(answers.into_iter().collect());
            Script { answers, asked: Mutex::default(), start: Instant::now() }
        }

        fn asked(&self) -> Vec<u64> {
            self.asked.lock().iter().map(Duration::as_secs).collect()
        }
    }

    #[async_trait]
    impl Resolver for Script {
        async fn lookup(&self, _: &str) -> Result<Answer, ResolveError> {
            self.asked.lock().push(self.start.elapsed());
            let next = self.answers.lock().pop_front();
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn answer(last: &[u8], seconds: u64) -> Result<Answer, ResolveError> {
        Ok(Answer { addresses: last.iter().copied().map(ip).collect(), valid_for: Duration::from_secs(seconds) })
    }

    /// What was reported, and when, until the script had no more.
    async fn run(script: &Script) -> Vec<(u64, Vec<IpAddr>)> {
        let reports = Mutex::new(Vec::new());
        let on_change = |addresses| reports.lock().push((script.start.elapsed().as_secs(), addresses));
        let watch = watch("app.example", script, Params::DEFAULT, on_change);
        assert!(timeout(Duration::from_secs(100_000), watch).await.is_err());
        reports.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_reported_once_sorted_and_without_repetitions() {
        let script = Script::new([answer(&[2, 1, 2], 5), answer(&[1, 2], 5), answer(&[3], 5)]);
        assert_eq!(run(&script).await, [(0, vec![ip(1), ip(2)]), (10, vec![ip(3)])]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ttl_says_when_to_ask_again_within_bounds() {
        let script = Script::new([answer(&[1], 0), answer(&[1], 20), answer(&[1], 3600), answer(&[1], u64::MAX)]);
        run(&script).await;
        assert_eq!(script.asked(), [0, 1, 21, 81, 141]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_keep_the_last_good_answer_and_are_asked_again_ever_less_often() {
        let mut answers = vec![answer(&[1], 5)];
        answers.extend(vec![Err(ResolveError::TimedOut); 8]);
        answers.extend([answer(&[1], 5), Err(ResolveError::NoSuchName), answer(&[], 5), answer(&[2], 5)]);
        let script = Script::new(answers);
        let reports = run(&script).await;
        assert_eq!(script.asked(), [0, 5, 6, 8, 12, 20, 36, 68, 128, 188, 193, 194, 196, 201]);
        assert_eq!(reports, [(0, vec![ip(1)]), (196, vec![ip(2)])]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_reported_before_there_is_an_answer() {
        let script = Script::new([Err(ResolveError::NoServer(String::new())), answer(&[1], 5)]);
        assert_eq!(run(&script).await, [(1, vec![ip(1)])]);
    }

    fn no_hosts() -> io::Result<Hosts> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn no_servers() -> Result<(ResolverConfig, ResolverOpts), NetError> {
        Err(io::Error::from(io::ErrorKind::NotFound).into())
    }

    fn some_hosts() -> io::Result<Hosts> {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"192.0.2.7 app.internal APP\n::7 app.internal # both\n"[..])?;
        Ok(hosts)
    }

    fn system(servers: fn() -> Result<(ResolverConfig, ResolverOpts), NetError>) -> System {
        System { hosts: some_hosts, servers, dns: Mutex::new(None) }
    }

    #[tokio::test]
    async fn what_the_hosts_file_lists_needs_no_name_server() {
        let system = system(no_servers);
        let mut found = system.lookup("App.internal").await.unwrap().addresses;
        found.sort();
        assert_eq!(found, [ip(7), "::7".parse::<IpAddr>().unwrap()]);
        assert_eq!(system.lookup("app").await.unwrap().addresses, [ip(7)]);
    }

    #[tokio::test]
    async fn localhost_is_found_by_the_system_without_a_network() {
        let found = System::new().lookup("localhost").await.unwrap();
        assert!(!found.addresses.is_empty() && found.addresses.iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn without_any_configuration_each_lookup_says_so() {
        let system = System { hosts: no_hosts, servers: no_servers, dns: Mutex::new(None) };
        for _ in 0..2 {
            assert_eq!(system.lookup("app.example").await.unwrap_err().as_str(), "no-server");
        }
        assert_eq!(system.lookup("a..b").await, Err(ResolveError::BadName));
    }

    /// A name server on the loopback: `both.example` has an address of each family, any other name is unknown.
    async fn serve(socket: UdpSocket) {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
            reply.add_query(query.clone());
            let (data, ttl) = match query.query_type() {
                RecordType::A => (RData::A(A(Ipv4Addr::new(192, 0, 2, 9))), 30),
                _ => (RData::AAAA(AAAA(Ipv6Addr::from(9))), 20),
            };
            if query.name().to_utf8() == "both.example." {
                reply.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
            } else {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            socket.send_to(&reply.to_vec().unwrap(), peer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_name_server_is_asked_for_both_families_and_the_shorter_ttl_counts() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(serve(socket));
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server = NameServerConfig::new(address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap();
        let system = System { hosts: no_hosts, servers: no_servers, dns: Mutex::new(Some(dns)) };
        let mut found = system.lookup("both.example").await.unwrap();
        found.addresses.sort();
        assert_eq!(found.addresses, [ip(9), Ipv6Addr::from(9).into()]);
        assert_eq!(found.valid_for, Duration::from_secs(20));
        assert_eq!(system.lookup("none.example").await, Err(ResolveError::NoSuchName));
    }
}
