//! How each proxy is configured.

use std::net::SocketAddr;
use std::path::Path;

use crate::scenario::Caching;
use crate::server;

/// What a configuration depends on besides addresses.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) caching: Caching,
    /// Of each backend; if there is a limit, an operator who knows it tells the proxies that have no way to find out, and
    /// requests tell their class in `X-Priority`.
    pub(crate) workers: Option<usize>,
}

/// HAProxy's queue: by class, and so short that what leaves it last is still answered within 250 ms. (With 250 ms all of the
/// default class comes too late: it is served in order, at the end of its patience.)
const PRIORITIES: &str = "    timeout queue 200ms
    http-request set-priority-class int(-1) if { req.hdr(X-Priority) critical }
    http-request set-priority-class int(0) if { req.hdr(X-Priority) default }
    http-request set-priority-class int(1) if { req.hdr(X-Priority) sheddable }
";

/// Each backend's address in a line of its own.
fn lines(backends: &[SocketAddr], line: impl Fn(usize, &SocketAddr) -> String) -> String {
    backends.iter().enumerate().map(|(number, address)| line(number, address)).collect()
}

/// `limited`: with as many requests at once as there are workers, and no more.
pub(crate) fn nginx(
    folder: &Path,
    address: SocketAddr,
    backends: &[SocketAddr],
    setup: Setup,
    limited: bool,
) -> String {
    let (zone, limit) = match setup.workers {
        Some(workers) if limited => (
            "limit_conn_zone $server_addr zone=all:1m; limit_conn_status 503;",
            format!("limit_conn all {};", workers * backends.len() * 6 / 5),
        ),
        _ => ("", String::new()),
    };
    let servers = lines(backends, |_, address| format!("server {address} max_fails=0;\n        "));
    let cache = match setup.caching {
        Caching::Off => "",
        Caching::Fresh => "proxy_cache hot; proxy_cache_lock on;",
        Caching::Stale => {
            "proxy_cache hot; proxy_cache_lock on; proxy_cache_use_stale updating timeout error; \
             proxy_cache_background_update on;"
        }
    };
    include_str!("nginx.conf")
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@ADDRESS@", &address.to_string())
        .replace("@SERVERS@", servers.trim_end())
        .replace("@CACHE@", cache)
        .replace("@ZONE@", zone)
        .replace("@LIMIT@", &limit)
        .replace("@USER@", server::nginx_user())
}

pub(crate) fn haproxy(address: SocketAddr, backends: &[SocketAddr], setup: Setup) -> String {
    let (limit, queue) = match setup.workers {
        Some(workers) => (format!(" maxconn {workers}"), PRIORITIES),
        None => (String::new(), ""),
    };
    let servers = lines(backends, |number, address| format!("    server b{number} {address}{limit}\n"));
    let (section, rules) = match setup.caching {
        Caching::Off => ("", ""),
        // It has neither a lock nor stale copies.
        Caching::Fresh | Caching::Stale => (
            "cache hot\n    total-max-size 64\n",
            "    http-request cache-use hot\n    http-response cache-store hot\n",
        ),
    };
    include_str!("haproxy.cfg")
        .replace("@ADDRESS@", &address.to_string())
        .replace("@SERVERS@", servers.trim_end())
        .replace("@CACHE@", section)
        .replace("@RULES@", rules)
        .replace("@QUEUE@", queue)
}

/// The defaults, but for addresses and the access log; a route that lets stale copies be used where that is the scenario, or
/// tells where the class is.
pub(crate) fn hedgerow(address: SocketAddr, admin: SocketAddr, backends: &[SocketAddr], setup: Setup) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    let (trusted, route) = match setup {
        Setup { workers: Some(_), .. } => {
            ("trusted_proxies = [\"127.0.0.1/32\"]\n", "[[route]]\npriority_header = \"X-Priority\"\n")
        }
        Setup { caching: Caching::Off | Caching::Fresh, .. } => ("", ""),
        Setup { caching: Caching::Stale, .. } => {
            ("", "[[route]]\n[route.cache]\nstale = { while_revalidate = \"30s\", if_slow = \"p95\" }\n")
        }
    };
    format!(
        "[server]\nlisten = [\"{address}\"]\nadmin = \"{admin}\"\n{trusted}[access_log]\nformat = \"off\"\n\
         [[pool]]\nname = \"web\"\nbackends = [{}]\n{route}",
        backends.join(", ")
    )
}
