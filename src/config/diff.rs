//! What a reload changes, as a value: for the log, the answer to `POST /reload`, and the operator's peace of mind.

use std::fmt;

use super::{Config, Pool};
use crate::endpoint::Endpoint;

/// The difference between the running configuration and the next. Its `Display` is one line per change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Pools, by name. A pool whose backends alone differ is changed, too.
    pub pools: Vec<Change>,
    /// Backends of pools that stay, as `pool host:port`. Changed: the weight or the limit.
    pub backends: Vec<Change>,
    /// Routes, by name.
    pub routes: Vec<Change>,
    /// Other keys or sections that differ and take effect at once.
    pub settings: Vec<&'static str>,
    /// Keys that differ and take effect only when the process starts again.
    pub restart: Vec<&'static str>,
}

/// One thing that is no longer what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub kind: Kind,
}

/// What happened to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is there in both and differs.
    Changed,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Changed => "changed",
        }
    }
}

impl Diff {
    /// What changes when `new` follows `old`.
    pub fn between(old: &Config, new: &Config) -> Diff {
        let mut diff = Diff {
            pools: changes(&old.pools, &new.pools, |pool| pool.name.clone()),
            routes: changes(&old.routes, &new.routes, |route| route.name.clone()),
            ..Diff::default()
        };
        for pool in &new.pools {
            if let Some(before) = old.pools.iter().find(|before| before.name == pool.name) {
                diff.backends.extend(backends(before, pool));
            }
        }
        let (a, b) = (&old.server, &new.server);
        diff.settings = differing(&[
            ("server.trusted_proxies", a.trusted_proxies != b.trusted_proxies),
            ("server.grace_period", a.grace_period != b.grace_period),
            ("server.limits", a.limits != b.limits),
            ("server.timeouts", a.timeouts != b.timeouts),
            ("listener", addresses(old) == addresses(new) && old.listeners != new.listeners),
            ("cache.name", old.cache.name != new.cache.name),
            ("cache.memory", old.cache.memory != new.cache.memory),
            ("cache.max_object", old.cache.max_object != new.cache.max_object),
            ("cache.targets", old.cache.targets != new.cache.targets),
            ("cache.reveal", old.cache.reveal != new.cache.reveal),
            ("cache.tags", old.cache.tags != new.cache.tags),
            ("cache.admission", old.cache.admission != new.cache.admission),
            ("log.level", old.log != new.log),
            ("access_log", old.access_log != new.access_log),
            ("slow", old.slow != new.slow),
            ("tracing", old.tracing != new.tracing),
        ]);
        diff.restart = differing(&[
            ("server.listen", a.listen != b.listen),
            ("listener.address", addresses(old) != addresses(new)),
            ("server.admin", a.admin != b.admin),
            ("server.threads", a.threads != b.threads),
        ]);
        diff
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let named = [("pool", &self.pools), ("backend", &self.backends), ("route", &self.routes)];
        let named = named.into_iter().flat_map(|(what, changes)| {
            changes.iter().map(move |change| format!("{what} {}: {}", change.name, change.kind.as_str()))
        });
        let settings = self.settings.iter().map(|key| format!("{key}: changed"));
        let restart = self.restart.iter().map(|key| format!("{key}: changed, takes effect at the next start"));
        let lines: Vec<String> = named.chain(settings).chain(restart).collect();
        f.write_str(&lines.join("\n"))
    }
}

fn changes<T: PartialEq>(old: &[T], new: &[T], name: impl Fn(&T) -> String) -> Vec<Change> {
    let find = |all: &'_ [T], wanted: &str| all.iter().position(|item| name(item) == wanted);
    let mut found = Vec::new();
    for item in new {
        let name = name(item);
        match find(old, &name) {
            None => found.push(Change { name, kind: Kind::Added }),
            Some(i) if old[i] != *item => found.push(Change { name, kind: Kind::Changed }),
            Some(_) => {}
        }
    }
    let gone = old.iter().map(&name).filter(|name| find(new, name).is_none());
    found.extend(gone.map(|name| Change { name, kind: Kind::Removed }));
    found
}

fn backends(old: &Pool, new: &Pool) -> Vec<Change> {
    changes(&old.backends, &new.backends, |b| format!("{} {}", new.name, b.address))
}

fn addresses(config: &Config) -> Vec<(&Endpoint, Option<u32>)> {
    config.listeners.iter().map(|listener| (&listener.address, listener.mode)).collect()
}

fn differing(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_str;

    fn config(text: &str) -> Config {
        parse_str("t", text).unwrap().config
    }

    #[test]
    fn the_same_configuration_differs_in_nothing() {
        let text = "[[pool]]\nname = \"a\"\nbackends = [\"h:1\"]";
        let diff = Diff::between(&config(text), &config(text));
        assert!(diff.is_empty());
        assert_eq!(diff.to_string(), "nothing changed");
    }

    #[test]
    fn every_change_is_one_line() {
        let old = config(
            "server = { admin = \"off\" }\n\
             [[pool]]\nname = \"a\"\nbackends = [\"h:1\", \"h:2\", \"[::1]:3\"]\n\
             [[pool]]\nname = \"b\"\nbackends = [\"h:1\"]\n\
             [[route]]\nname = \"x\"\nmatch = { path = \"/x\" }\npool = \"a\"\n\
             [[route]]\npool = \"b\"\n",
        );
        let new = config(
            "server = { listen = [\"127.0.0.1:1\"], admin = \"off\", grace_period = \"1s\" }\n\
             cache = { memory = \"1MiB\", max_object = \"1KiB\" }\n\
             [[pool]]\nname = \"c\"\nbackends = [\"h:1\"]\n\
             [[pool]]\nname = \"a\"\nbackends = [{ address = \"h:2\", weight = 2 }, \"h:1\", \"h:4\"]\n\
             [[route]]\npool = \"a\"\n\
             [[route]]\nmatch = { path = \"/y\" }\npool = \"c\"\n",
        );
        assert_eq!(
            Diff::between(&old, &new).to_string(),
            "pool c: added\n\
             pool a: changed\n\
             pool b: removed\n\
             backend a h:2: changed\n\
             backend a h:4: added\n\
             backend a [::1]:3: removed\n\
             route default: changed\n\
             route /y: added\n\
             route x: removed\n\
             server.grace_period: changed\n\
             cache.memory: changed\n\
             cache.max_object: changed\n\
             server.listen: changed, takes effect at the next start"
        );
    }
}
