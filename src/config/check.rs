//! From files to what is true: every section read, then everything that spans sections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml::de::DeTable;

use super::error::Report;
use super::file::Source;
use super::policy::Policy;
use super::read::{Located, Section, Spot};
use super::route::Written;
use super::value::Value;
use super::{Config, Listener, Pool, Route, listener, output, pool, route, server, tracing};
use crate::clock;
use crate::routing::{self, HostPattern, PathPattern};

/// The sections that one file only may have, so that no value depends on the order of files.
const SINGLE: [&str; 6] = ["server", "cache", "log", "access_log", "slow", "tracing"];

/// Everything written, over all files.
#[derive(Default)]
struct Gathered<'a> {
    single: BTreeMap<&'static str, Section<'a>>,
    listeners: Vec<Located<'a, Listener>>,
    pools: Vec<Located<'a, Pool>>,
    /// Counts also those that could not be read.
    pool_count: usize,
    routes: Vec<Written<'a>>,
    profiles: BTreeMap<&'a str, Located<'a, Policy>>,
}

/// Checks the parsed files; `None` after an error, which is then in `report`.
pub(super) fn check<'a>(files: &'a [(&'a Source, DeTable<'a>)], threads: usize, report: &'a Report) -> Option<Config> {
    let (first, _) = files.first()?;
    let top = Spot { source: first, report, key: String::new(), offset: 0 };
    let mut gathered = Gathered::default();
    for (source, table) in files {
        gathered.add(Section::top(source, report, table));
    }
    let mut single = |name: &'static str| {
        let section = gathered.single.remove(name);
        section.unwrap_or_else(|| Section::absent(Spot { key: name.to_owned(), ..top.clone() }, name))
    };
    let server = server::read(single("server"), threads, &gathered.listeners);
    let cache = output::cache(single("cache"));
    let log = output::log(single("log"));
    let access_log = output::access_log(single("access_log"));
    let slow = output::slow(single("slow"));
    let tracing = tracing::read(single("tracing")).map(Arc::new);
    check_pools(&gathered, &top);
    let routes = resolve(&gathered, &top);
    check_matches(&gathered.routes);
    let listeners = gathered.listeners.into_iter().map(|listener| listener.value).collect();
    let pools = gathered.pools.into_iter().map(|pool| Arc::new(pool.value)).collect();
    report.is_usable().then_some(Config { server, cache, log, access_log, slow, tracing, listeners, pools, routes })
}

impl<'a> Gathered<'a> {
    /// Pools with different names; one without a usable name counts as different.
    fn distinct_pools(&self) -> usize {
        let names: BTreeSet<&str> = self.pools.iter().map(|pool| pool.value.name.as_str()).collect();
        names.len() + self.pool_count - self.pools.len()
    }

    fn add(&mut self, mut top: Section<'a>) {
        for name in SINGLE {
            let Some(section) = top.optional(name).and_then(Value::section) else { continue };
            if let Some(other) = self.single.get(name) {
                section.spot.error(format_args!(
                    "`[{name}]` already stands in {}, expected in one file only",
                    other.spot.shown()
                ));
            } else {
                self.single.insert(name, section);
            }
        }
        if let Some(value) = top.optional("listener") {
            let read = |section| listener::read(section, clock::wall());
            self.listeners.extend(value.sections().into_iter().filter_map(read));
        }
        if let Some(value) = top.optional("pool") {
            let sections = value.sections();
            // `[pool]` is no list: one pool is there, only not as it should be.
            self.pool_count += if value.is_list() { sections.len() } else { 1 };
            self.pools.extend(sections.into_iter().filter_map(pool::read));
        }
        if let Some(value) = top.optional("route") {
            self.routes.extend(value.sections().into_iter().map(route::read));
        }
        for (name, profile) in top.optional("profile").map(route::profiles).unwrap_or_default() {
            if let Some(other) = self.profiles.get(name) {
                let place = other.spot.shown();
                profile.spot.error(format_args!("profile `{name}` already stands at {place}"));
            } else {
                self.profiles.insert(name, profile);
            }
        }
        top.finish();
    }
}

fn check_pools(gathered: &Gathered<'_>, top: &Spot<'_>) {
    if gathered.pool_count == 0 && !top.report.is_partial() {
        top.error_with(
            "no pool, expected at least one `[[pool]]`",
            "write `[[pool]]`, `name = \"web\"`, `backends = [\"127.0.0.1:8000\"]`",
        );
    }
    for (i, pool) in gathered.pools.iter().enumerate() {
        if let Some(other) = gathered.pools[..i].iter().find(|other| other.value.name == pool.value.name) {
            let place = other.spot.shown();
            pool.spot.error(format_args!("pool `{}` already stands at {place}", pool.value.name));
        }
    }
}

/// The routes with their pools and profiles found.
fn resolve(gathered: &Gathered<'_>, top: &Spot<'_>) -> Vec<Arc<Route>> {
    let names: BTreeSet<&str> = gathered.pools.iter().map(|pool| pool.value.name.as_str()).collect();
    let only = names.first().copied().filter(|_| gathered.distinct_pools() == 1);
    if gathered.routes.is_empty() {
        return match only {
            Some(pool) => vec![Arc::new(implicit(pool))],
            None => {
                if gathered.distinct_pools() > 1 && !top.report.is_partial() {
                    top.error_with(
                        "no route, expected at least one `[[route]]` where there is more than one pool",
                        format_args!("write `[[route]]` and `pool = \"{}\"`", names.first().unwrap_or(&"web")),
                    );
                }
                Vec::new()
            }
        };
    }
    let mut used_pools = BTreeSet::new();
    let mut used_profiles = BTreeSet::new();
    let mut routes: Vec<Arc<Route>> = Vec::new();
    for (i, written) in gathered.routes.iter().enumerate() {
        check_name(written, &gathered.routes[..i]);
        let pool = find_pool(written, &names, only, gathered);
        used_pools.extend(pool);
        let profile = find_profile(written, gathered);
        used_profiles.extend(written.profile.as_ref().map(|profile| profile.value));
        let policy = written.policy.clone().over(profile.unwrap_or_default());
        routes.push(Arc::new(Route {
            name: written.name.clone(),
            host: written.host.clone(),
            path: written.path.clone(),
            pool: pool.unwrap_or_default().to_owned(),
            timeout: policy.timeout(),
            max_body: policy.max_body(),
            priority: policy.priority(),
            priority_header: policy.priority_header(),
            hedge: policy.hedge(),
            rescue: policy.rescue(),
            safe_methods: policy.safe_methods(),
            rate: policy.rate(),
            cache: policy.into_cache(),
        }));
    }
    // After a misspelt reference, what it meant only seems to be unused.
    if top.report.is_usable() {
        warn_unused(gathered, &used_pools, &used_profiles);
    }
    routes
}

/// The route of a configuration without any: everything goes to its one pool.
fn implicit(pool: &str) -> Route {
    let policy = Policy::default();
    Route {
        name: route::name_of(&HostPattern::Any, &PathPattern::Any),
        host: HostPattern::Any,
        path: PathPattern::Any,
        pool: pool.to_owned(),
        timeout: policy.timeout(),
        max_body: policy.max_body(),
        priority: policy.priority(),
        priority_header: policy.priority_header(),
        hedge: policy.hedge(),
        rescue: policy.rescue(),
        safe_methods: policy.safe_methods(),
        rate: policy.rate(),
        cache: policy.into_cache(),
    }
}

fn check_name(written: &Written<'_>, before: &[Written<'_>]) {
    let same = before.iter().find(|other| other.name == written.name);
    // Of two routes without a name the match is the same, which is reported as such.
    if let Some(other) = same.filter(|other| (written.is_named || other.is_named) && written.is_matched) {
        let spot = if written.is_named { &written.name_spot } else { &written.match_spot };
        let place = other.spot.shown();
        spot.error_with(
            format_args!("route name `{}` is already taken by the route at {place}", written.name),
            "route names label metrics and logs, so each has its own; one that is not written is made from the match",
        );
    }
}

fn find_pool<'g>(
    written: &Written<'_>,
    names: &BTreeSet<&'g str>,
    only: Option<&'g str>,
    gathered: &Gathered<'_>,
) -> Option<&'g str> {
    let is_partial = written.spot.report.is_partial();
    let Some(pool) = &written.pool else {
        if !written.has_pool && gathered.distinct_pools() > 1 && !is_partial {
            let list: Vec<&str> = names.iter().copied().collect();
            let message = format!("pool is missing, expected one of `{}`", list.join("`, `"));
            written.spot.error(message);
        }
        return only.filter(|_| !written.has_pool);
    };
    let found = names.get(pool.value).copied();
    // A pool whose own name could not be read may be the one that is meant.
    if found.is_none() && !is_partial && gathered.pool_count == gathered.pools.len() {
        pool.spot.error_near(
            format_args!("no pool is named `{}`", pool.value.escape_debug()),
            pool.value,
            names.iter().copied(),
        );
    }
    found
}

fn find_profile(written: &Written<'_>, gathered: &Gathered<'_>) -> Option<Policy> {
    let profile = written.profile.as_ref()?;
    let found = gathered.profiles.get(profile.value);
    if found.is_none() && !profile.spot.report.is_partial() {
        let message = format!("no profile is named `{}`", profile.value.escape_debug());
        profile.spot.error_near(message, profile.value, gathered.profiles.keys().copied());
    }
    found.map(|policy| policy.value.clone())
}

fn warn_unused(gathered: &Gathered<'_>, pools: &BTreeSet<&str>, profiles: &BTreeSet<&str>) {
    for pool in gathered.pools.iter().filter(|pool| !pools.contains(pool.value.name.as_str())) {
        pool.spot.warning(format_args!("no route uses pool `{}`", pool.value.name));
    }
    for (name, profile) in gathered.profiles.iter().filter(|(name, _)| !profiles.contains(**name)) {
        profile.spot.warning(format_args!("no route uses profile `{name}`"));
    }
}

/// Routes that no request reaches.
fn check_matches(routes: &[Written<'_>]) {
    let routes: Vec<&Written<'_>> = routes.iter().filter(|route| route.is_matched).collect();
    let patterns: Vec<_> = routes.iter().map(|route| (&route.host, &route.path)).collect();
    for shadow in routing::unreachable(&patterns) {
        let by = routes[shadow.by()];
        let message = match shadow {
            routing::Shadow::Same { .. } => format!("the route at {} has the same match", by.spot.shown()),
            routing::Shadow::Union { .. } => {
                format!("other routes match every path, the deepest by the one at {}", by.spot.shown())
            }
        };
        routes[shadow.route()].match_spot.error(format_args!("is never reached: {message}"));
    }
}
