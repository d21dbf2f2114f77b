//! The command line.

mod explain;
mod purge;
mod top;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::{self, Loaded, Problem, Severity};
use crate::endpoint::Endpoint;
use crate::units::Weight;
use crate::{ask, demo, reload, server};

/// sysexits' EX_CONFIG.
const EXIT_CONFIG: u8 = 78;
/// sysexits' EX_UNAVAILABLE.
const EXIT_UNAVAILABLE: u8 = 69;

/// A caching reverse proxy that keeps the tail short.
///
/// Exit codes: 0 done; 2 wrong arguments; 69 cannot start (an address in use, say); 78 wrong configuration.
#[derive(Debug, Parser)]
#[command(name = "hedgerow", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the edge in the foreground
    ///
    /// SIGHUP reloads the configuration, SIGUSR1 reopens the access log, SIGTERM drains and exits, SIGINT exits at once.
    Run {
        /// A TOML file, or a directory whose *.toml files are merged
        #[arg(long, short, value_name = "PATH")]
        config: PathBuf,
    },
    /// Check a configuration: report every error, exit 0 or 78
    Check {
        /// A TOML file, or a directory whose *.toml files are merged
        #[arg(long, short, value_name = "PATH")]
        config: PathBuf,
    },
    /// Run an edge on 127.0.0.1:8080 over three embedded backends, one of which degrades on a schedule
    Demo,
    /// Print the default configuration, every key commented
    PrintConfig,
    /// Purge what a running edge has stored: exit 0 or 1
    Purge(purge::Purge),
    /// Ask a running edge what its cache would do with a request, and why: exit 0 or 1
    ///
    /// Nothing is sent to a backend and nothing changes.
    Explain(explain::Explain),
    /// Watch a running edge: backends, latency, budgets, what happened
    ///
    /// Keys: q quits, s sorts the backends, p pauses, arrows scroll.
    Top(top::Top),
    /// Ask a running edge's admin address whether it is alive: exit 0 or 1
    #[command(name = "healthcheck")]
    HealthCheck {
        /// The admin address
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => run(config),
        Command::Check { config } => check(&config),
        Command::Demo => demo(),
        Command::PrintConfig => print(config::DEFAULT),
        Command::Purge(purge) => purge.run(),
        Command::Explain(explain) => explain.run(),
        Command::Top(top) => top.run(),
        Command::HealthCheck { admin } => health_check(admin),
    }
}

fn run(path: PathBuf) -> ExitCode {
    let Loaded { config, warnings } = match config::load(&path) {
        Ok(loaded) => loaded,
        Err(problems) => return report(&problems),
    };
    start_log(config.log.level);
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    serve(config, Some(path), |running| {
        let addresses: Vec<String> = running.addresses().iter().map(ToString::to_string).collect();
        log::info!("serving on {}", addresses.join(", "));
        if let Some(admin) = running.admin() {
            log::info!("admin on {admin}");
        }
    })
}

fn check(path: &std::path::Path) -> ExitCode {
    match config::load(path) {
        Ok(Loaded { config, warnings }) => {
            complain(&warnings);
            print(&format!("{}: ok ({} pools, {} routes)\n", path.display(), config.pools.len(), config.routes.len()))
        }
        Err(problems) => report(&problems),
    }
}

fn demo() -> ExitCode {
    // The backends have a thread of their own, as if they were elsewhere.
    let started = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().and_then(|own| {
        let demo = own.block_on(demo::start())?;
        Ok((own, demo))
    });
    let (backends, demo) = match started {
        Ok(started) => started,
        Err(e) => return unavailable(&format!("cannot start the demo's backends: {e}")),
    };
    let config = match config::parse_str("the default configuration", config::DEFAULT) {
        Ok(Loaded { config, .. }) => over(config, demo.addresses()),
        Err(problems) => return report(&problems),
    };
    start_log(log::LevelFilter::Info);
    let ended = serve(config, None, |running| {
        let edge = running.addresses().first().and_then(Endpoint::tcp);
        if let (Some(edge), Some(admin)) = (edge, running.admin()) {
            print(&demo.banner(edge, admin));
        }
    });
    backends.shutdown_background();
    ended
}

/// The default configuration on loopback, over these backends, without an access log between the demo's lines.
fn over(mut config: config::Config, backends: &[SocketAddr]) -> config::Config {
    config.server.listen = vec![SocketAddr::from(([127, 0, 0, 1], 8080)).into()];
    config.access_log.format = None;
    for pool in &mut config.pools {
        let pool = Arc::make_mut(pool);
        pool.backends = backends
            .iter()
            .map(|address| config::Backend {
                max_in_flight: None,
                address: config::Address::Host { name: address.ip().to_string(), port: address.port() },
                weight: Weight::DEFAULT,
            })
            .collect();
    }
    config
}

fn serve(config: config::Config, source: Option<PathBuf>, started: impl FnOnce(&server::Running)) -> ExitCode {
    match server::run(config, source, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => unavailable(&e.to_string()),
    }
}

fn unavailable(why: &str) -> ExitCode {
    say(&format!("hedgerow: {why}\n"));
    ExitCode::from(EXIT_UNAVAILABLE)
}

/// One request to a running edge, for containers whose image has no HTTP client.
fn health_check(admin: SocketAddr) -> ExitCode {
    match ask::ask(admin, "GET", "/healthz", None) {
        Ok(answer) if answer.is_success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            say(&format!("hedgerow: {admin}: {e}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Pingora tells of every failed request in its own words; ours are enough.
const LOG_FILTER: &str = "trace,pingora_proxy=off,pingora_cache=error,pingora_core=error";

/// `RUST_LOG` wins over the configuration.
fn start_log(level: log::LevelFilter) {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG_FILTER));
    // Fails only if a logger is set already, which then stays.
    let _ = builder.try_init();
    reload::set_log_level(level);
}

fn report(problems: &[Problem]) -> ExitCode {
    complain(problems);
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
    say(&format!("{errors} error{}\n", if errors == 1 { "" } else { "s" }));
    ExitCode::from(EXIT_CONFIG)
}

fn complain(problems: &[Problem]) {
    problems.iter().for_each(|problem| say(&format!("{problem}\n")));
}

fn say(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `hedgerow print-config | head` is no failure.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
