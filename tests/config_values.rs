//! What a text means.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use hedgerow::config::{self, Backend, Config, Hedge, IfSlow, KEYS, LogFormat, Protocol, Trust};
use hedgerow::routing::{HostPattern, PathPattern};
use hedgerow::tail::hedging::Quantile;
use hedgerow::trace::sampling::Keep;
use hedgerow::units::Ratio;
use serde_json::Value;

fn config(text: &str) -> Config {
    config::parse_str("t.toml", text).unwrap().config
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const POOL: &str = "[[pool]]\nname = \"web\"\nbackends = [\"127.0.0.1:8001\"]\n";

/// Every key that has an effect, none at its default.
const FULL: &str = r#"
[server]
listen = ["127.0.0.1:81", "[::1]:81"]
admin = "127.0.0.1:91"
threads = 3
trusted_proxies = ["10.0.0.0/8", "::1"]
grace_period = "1m 30s"
[server.limits]
head_size = "8KiB"
headers = 50
uri_length = "2000B"
connections = 7
requests_per_connection = 8
[server.timeouts]
head = "1s"
idle = "2s"
body = "3s"
write = "4s"
handshake = "5s"
[[listener]]
address = "127.0.0.1:82"
protocols = ["h1", "h2"]
proxy_protocol = ["10.0.0.0/8"]
redirect_to_https = 8443
[[listener]]
address = "127.0.0.1:83"
protocols = ["h1"]
[listener.tls]
certificates = [{ cert = "tests/config/shop.pem", key = "tests/config/shop.key", ocsp = "tests/config/shop.ocsp" }]
min_version = "1.3"
strict_sni = true
hsts = { max_age = "1day", include_subdomains = true, preload = true }
client_auth = { ca = "tests/config/shop.pem", mode = "optional", header = "X-Client-Subject" }
[cache]
name = "edge"
memory = "500MB"
max_object = "1MiB"
targets = ["Edge-Cache-Control"]
admission = "lru"
# Cargo sets this variable for tests.
reveal = { clients = ["10.1.0.0/16"], header = "X-Debug", secret = "env:CARGO_PKG_NAME" }
tags = ["X-Tags", "Cache-Tag"]
[log]
level = "debug"
[access_log]
format = "logfmt"
output = "./access.log"
sample = 0.25
slow = "2s"
[slow]
keep = 7
window = "1m"
query = true
[[pool]]
name = "web"
backends = ["127.0.0.1:8001", { address = "[::1]:8002", weight = 3, max_in_flight = 4 }, "App-1.Internal:8003"]
health = { path = "/healthz?deep", host = "shop.example", interval = "5s", timeout = "1s", expect = [200, "301-302,404"], rise = 1, fall = 5 }
ejection = { consecutive = 0, time = "1s", max_time = "2s" }
slow_start = "0s"
max_in_flight = 9
keepalive = false
tell_deadline = false
tls = { server_name = "Internal.", verify = false, ca = "Cargo.toml" }
[pool.timeouts]
connect = "1s"
first_byte = "2s"
between_bytes = "3s"
write = "4s"
total = "6s"
idle = "5s"
[pool.tail]
retry = { attempts = 1, budget = "12.5%", min_per_second = 0.5, backoff = "1ms", max_backoff = "9ms" }
reported_load = false
limit = 40
hedge = { quantile = 0.99, budget = "2.5%", min_delay = "5ms", max_delay = "2s", burst = "1.5%", held_out = "0.5%", in_flight = "20%" }
probation = { late = "60%", share = "25%", probes = "2%", ramp = "4s", max_time = "2m" }
[[route]]
name = "shop"
match = { host = "*.Shop.example", path = "/a/*/b" }
pool = "web"
profile = "assets"
timeout = "1s"
max_body = "0B"
priority = "sheddable"
priority_header = "X-Priority"
hedge = "off"
rescue = true
rate = { per_client = "100/m", total = "500/s", burst = 1000 }
[route.cache]
enabled = false
ttl = { default = "1s", 200 = "10m", 404 = "30s", 5xx = "2s" }
stale = { while_revalidate = "3s", if_error = "4s", if_slow = "p99.9", override_origin = true }
client_directives = "ignore"
heuristic = { fraction = "20%", max = "2h" }
vary = { accept_encoding = "normalise", accept_language = ["en-GB", "de"], max_variants = 5 }
set_cookie = "strip"
deception_guard = "on"
collapse = { wait = "6s" }
slice = "2MiB"
min_uses = 3
purge = { allow = ["10.1.0.0/16", "::1"], token = "env:CARGO_PKG_NAME", soft = true }
[route.cache.key]
template = "{scheme}://{host}{path}?{query} {header:X-Tenant} {cookie:currency} {device}"
query = { drop = ["utm_*", "gclid"], sort = true }
host = "Shop.example"
device = [{ class = "tablet", user_agent = "*iPad*" }]
[[route]]
match = { path = "/kept" }
pool = "web"
cache.key.query = { keep = ["page"] }
cache.stale = { if_error = "1m", if_slow = "200ms" }
[[route]]
match = { path = "/plain" }
pool = "web"
cache.key.template = "{scheme}{host}{path}"
[profile.assets]
timeout = "9s"
[tracing]
endpoint = "https://otel.example:4318/v1/traces"
protocol = "http"
sample = "12.5%"
keep = { slow = "250ms", failed = false, hedged = false, shed = false, rate = "30/m" }
trust = "all"
service_name = "edge"
resource = { "deployment.environment.name" = "staging" }
headers = { Authorization = "env:CARGO_PKG_NAME" }
query = true
queue = 100
timeout = "3s"
[[pool]]
name = "calls"
backends = ["calls.internal:50051"]
protocol = "h2"
http2 = { max_streams = 7, ping_interval = "20s", ping_timeout = "3s" }
health = { grpc = "shop.Stock" }
[[route]]
match = { path = "/calls" }
pool = "calls"
grpc = { safe_methods = ["/shop.Stock/Get", "/shop.Prices/*"] }
"#;

#[test]
fn every_key_is_read() {
    let loaded = config::parse_str("t.toml", FULL).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["t.toml:63:57: warning: pool.tls.ca: is not used, since `verify = false`"]);
    let shown = loaded.config.to_json();
    let expected: Value = serde_json::from_str(include_str!("config/full.json")).unwrap();
    assert_eq!(shown, expected, "{shown:#}");
}

#[test]
fn no_key_of_the_list_is_left_out_of_that_test() {
    let shown = config(FULL).to_json();
    for key in KEYS {
        // What is not shown: what another key says, and the two that profiles are resolved into.
        if ["profile", "route.profile"].contains(key) {
            continue;
        }
        assert!(is_shown(&shown, key), "{key}");
    }
}

/// Whether the key is there, in any of the tables of a list.
fn is_shown(shown: &Value, key: &str) -> bool {
    match shown {
        Value::Array(tables) if tables.iter().any(Value::is_object) => tables.iter().any(|table| is_shown(table, key)),
        _ if key.is_empty() => !shown.is_null(),
        _ => {
            let (name, rest) = key.split_once('.').unwrap_or((key, ""));
            shown.get(name).is_some_and(|below| is_shown(below, rest))
        }
    }
}

#[test]
fn backends_are_addresses_or_names() {
    let backend = |host: &str, port, weight, max_in_flight| {
        let weight = hedgerow::units::Weight::new(weight).unwrap();
        Backend { host: host.into(), port, weight, max_in_flight }
    };
    let expected = [
        backend("127.0.0.1", 8001, 1, None),
        backend("::1", 8002, 3, Some(4)),
        backend("app-1.internal", 8003, 1, None),
    ];
    assert_eq!(config(FULL).pools[0].backends, expected);
}

#[test]
fn statuses_are_ranges() {
    let expect = |value: &str| {
        config(&format!("{POOL}health = {{ path = \"/\", expect = {value} }}")).pools[0].health.clone().unwrap().expect
    };
    assert_eq!(expect("200"), [(200, 200)]);
    assert_eq!(expect("\"200\""), [(200, 200)]);
    assert_eq!(expect("\"200-299\""), [(200, 299)]);
    assert_eq!(expect("\"200, 204\""), [(200, 200), (204, 204)]);
    assert_eq!(expect("[\"200-299\", 401]"), [(200, 299), (401, 401)]);
    let check = config(&format!("{POOL}health = {{ path = \"/\" }}")).pools[0].health.clone().unwrap();
    assert_eq!((check.expect, check.rise, check.fall), (vec![(200, 399)], 2, 3));
}

#[test]
fn without_a_route_everything_goes_to_the_only_pool() {
    let config = config(POOL);
    let [route] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!((route.name.as_str(), route.pool.as_str()), ("default", "web"));
    assert_eq!((&route.host, &route.path), (&HostPattern::Any, &PathPattern::Any));
}

#[test]
fn a_route_without_a_name_is_named_after_its_match() {
    let routes = "[[route]]\n[[route]]\nmatch.host = \"*.a\"\n[[route]]\nmatch.path = \"/x/**\"\n\
                  [[route]]\nmatch = { host = \"b\", path = \"/y\" }\n";
    let config = config(&format!("{POOL}{routes}"));
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["default", "*.a", "/x/**", "b/y"]);
    assert!(config.routes.iter().all(|route| route.pool == "web"));
}

#[test]
fn a_route_goes_before_its_profile_key_by_key_and_table_by_table() {
    let config = config(&format!(
        "{POOL}[profile.p]\ntimeout = \"1s\"\nmax_body = \"1MiB\"\n\
         hedge = \"off\"\nrescue = true\nrate.total = \"5/s\"\n\
         cache = {{ enabled = false, ttl = {{ default = \"1s\", 404 = \"2s\" }}, \
         stale = {{ if_error = \"3s\", if_slow = \"p95\" }} }}\n\
         [[route]]\nmatch.path = \"/own\"\nprofile = \"p\"\nhedge = \"on\"\nrescue = false\nrate = \"off\"\n\
         cache.stale = {{ if_error = \"9s\" }}\n\
         [[route]]\nprofile = \"p\"\ntimeout = \"9s\"\ncache.ttl = {{ 200 = \"4s\" }}\n"
    ));
    let (own, route) = (&config.routes[0], &config.routes[1]);
    assert_eq!((route.hedge, route.rescue), (Hedge::Off, true));
    assert_eq!((own.hedge, own.rescue), (Hedge::On, false));
    assert_eq!((own.rate, route.rate.map(|rate| rate.client)), (None, Some(None)));
    assert_eq!((route.cache.if_slow, own.cache.if_slow), (Some(IfSlow::Quantile(0.95)), None));
    assert_eq!((route.timeout, route.max_body), (seconds(9), 1 << 20));
    assert!(!route.cache.enabled);
    let freshness = &route.cache.freshness;
    assert_eq!((freshness.ttl.default, &freshness.ttl.status[..]), (Duration::ZERO, &[(200, seconds(4))][..]));
    assert_eq!(freshness.if_error, seconds(3));
}

#[test]
fn defaults_that_depend_on_another_key_stay_inside_it() {
    let config = config(&format!(
        "cache = {{ memory = \"1MiB\" }}\nserver.limits.head_size = \"2KiB\"\n{POOL}health = {{ path = \"/\", interval = \"200ms\" }}\n"
    ));
    assert_eq!(config.cache.max_object, (1 << 20) / 5 * 2);
    assert_eq!(config.server.limits.uri_length, 2 << 10);
    assert_eq!(config.pools[0].health.as_ref().unwrap().timeout, Duration::from_millis(200));
}

#[test]
fn off_switches_admin_and_access_log_off() {
    let config = config(&format!("server.admin = \"off\"\naccess_log.format = \"off\"\n{POOL}"));
    assert_eq!((config.server.admin, config.access_log.format), (None, None));
    let config = self::config(&format!("access_log = {{ format = \"json\", sample = \"1%\" }}\n{POOL}"));
    assert_eq!((config.access_log.format, config.access_log.sample), (Some(LogFormat::Json), Ratio::percent(1)));
}

#[test]
fn hedging_and_probation_can_be_switched_off() {
    let pool = config(&format!("{POOL}tail = {{ hedge = \"off\", probation = \"off\" }}")).pools[0].clone();
    assert_eq!((pool.hedge.copies.budget, pool.probation.enabled), (Ratio::ZERO, false));
    let default = config(POOL).pools[0].clone();
    assert_eq!((default.hedge.copies.budget, default.probation.enabled), (Ratio::percent(5), true));
    // Whatever its table says, a budget of nothing is the same.
    let pool = config(&format!("{POOL}tail.hedge.budget = \"0%\"")).pools[0].clone();
    assert_eq!(pool.hedge.copies.budget, Ratio::ZERO);
}

#[test]
fn a_longer_shortest_delay_takes_the_longest_with_it() {
    let two = "[[pool]]\nname = \"web\"\nbackends = [\"h:1\", \"h:2\"]\n";
    let pool = config(&format!("{two}tail.hedge.min_delay = \"5s\"")).pools[0].clone();
    assert_eq!((pool.hedge.min_delay, pool.hedge.max_delay), (seconds(5), seconds(5)));
}

#[test]
fn a_quantile_of_hedging_is_auto_or_a_number() {
    let two = "[[pool]]\nname = \"web\"\nbackends = [\"h:1\", \"h:2\"]\n";
    let quantile = |written: &str| config(&format!("{two}tail.hedge.quantile = {written}")).pools[0].hedge.quantile;
    assert_eq!(quantile("\"auto\""), Quantile::Auto);
    assert_eq!(quantile("0.9"), Quantile::Fixed(0.9));
    assert_eq!(quantile("0.999"), Quantile::Fixed(0.999));
}

#[test]
fn slow_is_a_quantile_or_a_duration() {
    let if_slow = |written: &str| {
        config(&format!("{POOL}[[route]]\ncache.stale = {{ if_slow = \"{written}\" }}")).routes[0].cache.if_slow
    };
    assert_eq!(if_slow("p50"), Some(IfSlow::Quantile(0.5)));
    assert_eq!(if_slow("p95"), Some(IfSlow::Quantile(0.95)));
    assert_eq!(if_slow("p99.9"), Some(IfSlow::Quantile(0.999)));
    assert_eq!(if_slow("1ms"), Some(IfSlow::After(Duration::from_millis(1))));
    assert_eq!(if_slow("1m"), Some(IfSlow::After(seconds(60))));
    assert_eq!(config(POOL).routes[0].cache.if_slow, None);
}

#[test]
fn http_2_is_spoken_where_it_is_asked_for() {
    let pool = |keys: &str| config(&format!("{POOL}{keys}")).pools[0].clone();
    assert_eq!((pool("").http2, pool("protocol = \"h1\"").http2), (None, None));
    let http2 = pool("protocol = \"h2\"").http2.unwrap();
    assert_eq!((http2.max_streams, http2.ping_interval, http2.ping_timeout), (100, None, seconds(10)));
    let problems = |keys: &str| {
        let loaded = config::parse_str("t.toml", &format!("{POOL}{keys}"));
        let problems = loaded.map_or_else(|problems| problems, |loaded| loaded.warnings);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (keys, told) in [
        ("protocol = \"h3\"", "pool.protocol: expected \"h1\" or \"h2\", found \"h3\""),
        ("http2 = { max_streams = 5 }", "pool.http2: is not used, since `protocol` is not \"h2\""),
        (
            "protocol = \"h2\"\nhttp2 = { max_streams = 0 }",
            "pool.http2.max_streams: expected a whole number from 1 to 1000",
        ),
        ("protocol = \"h2\"\nkeepalive = false", "pool.keepalive: cannot be false with `protocol = \"h2\"`"),
        ("health = { grpc = \"\" }", "pool.health.grpc: is asked by gRPC, which needs `protocol = \"h2\"`"),
        ("protocol = \"h2\"\nhealth = { grpc = \"\", path = \"/\" }", "pool.health.path: is of a check by GET"),
        ("[[route]]\ngrpc.safe_methods = [\"Get\"]", "route.grpc.safe_methods: expected a method such as"),
    ] {
        assert!(problems(keys).iter().any(|problem| problem.contains(told)), "{keys}: {:?}", problems(keys));
    }
}

#[test]
fn without_its_table_nothing_is_traced() {
    assert_eq!(config(POOL).tracing, None);
    let tracing = config(&format!("tracing.endpoint = \"http://[::1]:4317\"\n{POOL}")).tracing.unwrap();
    assert_eq!((tracing.protocol, tracing.trust), (Protocol::Grpc, Trust::Proxies));
    assert_eq!((tracing.sample, tracing.keep), (Ratio::percent(1), Keep::default()));
    let tracing = config(&format!("tracing = {{ endpoint = \"http://o:1\", keep.slow = \"off\" }}\n{POOL}")).tracing;
    assert_eq!(tracing.unwrap().keep.slow, None);
}

/// The contract, as the design has it.
const CONTRACT: &str = r#"
[server]
listen  = ["0.0.0.0:8080"]
admin   = "127.0.0.1:9090"
threads = 2
trusted_proxies = ["10.0.0.0/8"]

[cache]
memory     = "1GiB"
max_object = "64MiB"

[[pool]]
name     = "web"
backends = ["127.0.0.1:8001", "127.0.0.1:8002"]
health   = { path = "/healthz", interval = "2s", timeout = "500ms", expect = "200" }

[pool.tail]
hedge  = { quantile = "auto", budget = "5%", min_delay = "2ms", max_delay = "1s" }
retry  = { attempts = 2, budget = "20%" }
limit  = "adaptive"

[[route]]
match = { host = "shop.example", path = "/static/**" }
pool  = "web"
priority = "default"
priority_header = "X-Priority"
timeout  = "5s"
[route.cache]
ttl   = { default = "0s", 200 = "10m", 404 = "30s" }
stale = { while_revalidate = "30s", if_error = "10m", if_slow = "p95" }
key   = { query = { drop = ["utm_*", "gclid"], sort = true } }
vary  = { accept_encoding = "normalise", max_variants = 16 }
"#;

#[test]
fn the_contract_of_the_design_can_be_used() {
    let loaded = config::parse_str("t.toml", CONTRACT).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.routes[0].name, "shop.example/static/**");
}

#[test]
fn what_is_shown_is_the_same_configuration_written_back() {
    let off = format!("{POOL}tail = {{ hedge = \"off\", probation = \"off\" }}");
    let traced = format!("tracing = {{ endpoint = \"http://otel:4317\", keep.slow = \"off\" }}\n{POOL}");
    for text in [FULL, POOL, config::DEFAULT, &off, &traced] {
        let config = config(text);
        let Value::Object(top) = config.to_json() else { panic!("not a table") };
        let text: String = top.iter().map(|(key, value)| format!("{key} = {}\n", toml(value))).collect();
        match config::parse_str("shown.toml", &text) {
            Ok(loaded) => assert_eq!(loaded.config, config),
            Err(problems) => panic!("{text}\n{problems:#?}"),
        }
    }
}

/// JSON as TOML: strings, numbers, booleans and lists are written alike, tables with `=`.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<_> = table.iter().map(|(key, value)| format!("\"{key}\" = {}", toml(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
