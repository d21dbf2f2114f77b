//! The import rule, held by reading the sources: imports go downwards only, and policy names nothing of the world.
//!
//! The compiler lets any module of a crate import any other; without this test a layer is a habit, and one tired
//! afternoon makes the balancer read the clock. The scan is by token, not by type: `use` lines, paths in code and
//! `super` chains that reach the crate's root all count, comments, strings and tests do not.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test, and it reports the median")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module at the crate's root, and what it may import. Who is not listed may import nothing.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["server", "demo", "reload", "ask", "config", "clock", "units", "endpoint"]),
    ("ask", &[]),
    ("demo", &["server", "config", "clock", "units"]),
    (
        "server",
        &[
            "proxy",
            "lane",
            "last_word",
            "admin",
            "reload",
            "health_check",
            "edge",
            "store",
            "snapshot",
            "listener",
            "upstream",
            "telemetry",
            "config",
            "clock",
            "cache",
            "tail",
            "balance",
            "routing",
            "uri",
            "units",
            "endpoint",
        ],
    ),
    ("proxy", MIDDLE),
    ("lane", MIDDLE),
    ("admin", ADMIN),
    ("reload", MIDDLE),
    ("health_check", MIDDLE),
    ("edge", &["connections", "store", "snapshot", "upstream", "telemetry", "config", "clock"]),
    ("connections", &[]),
    ("last_word", &["units"]),
    ("bypass", &[]),
    ("pace", &[]),
    ("postscript", &["trailers"]),
    ("caller", &[]),
    ("snapshot", &["listener", "upstream", "config", "cache", "routing", "tail", "telemetry", "units"]),
    (
        "upstream",
        &["tail", "balance", "grpc", "config", "telemetry", "clock", "trailers", "units", "endpoint", "certificate"],
    ),
    ("store", &["cache", "config", "clock", "units"]),
    ("telemetry", &["coding", "config", "cache", "grpc", "tail", "trace", "clock", "text", "units"]),
    ("listener", &["certificate", "config", "endpoint"]),
    ("certificate", &[]),
    ("endpoint", &[]),
    (
        "config",
        &["certificate", "endpoint", "clock", "routing", "cache", "tail", "balance", "grpc", "trace", "uri", "units"],
    ),
    ("routing", &["uri", "units"]),
    ("cache", &["uri", "units"]),
    ("balance", &["tail", "units"]),
    ("tail", &["units"]),
    ("clock", &["units"]),
    ("coding", &["cache"]),
    ("uri", &[]),
    ("trace", &["units"]),
    ("trailers", &[]),
    ("grpc", &[]),
    ("text", &[]),
    ("units", &[]),
    ("lib", &[]),
];

/// As `MIDDLE`, and what the admin listener is a way to ask for.
const ADMIN: &[&str] = &[
    "proxy",
    "edge",
    "reload",
    "store",
    "snapshot",
    "upstream",
    "telemetry",
    "config",
    "clock",
    "cache",
    "tail",
    "units",
];

const MIDDLE: &[&str] = &[
    "endpoint",
    "coding",
    "edge",
    "listener",
    "bypass",
    "last_word",
    "pace",
    "postscript",
    "caller",
    "store",
    "snapshot",
    "upstream",
    "telemetry",
    "config",
    "clock",
    "cache",
    "tail",
    "trace",
    "trailers",
    "grpc",
    "balance",
    "routing",
    "text",
    "uri",
    "units",
];

/// Modules that decide and do nothing else.
const PURE: &[&str] = &["cache", "balance", "tail", "routing", "trace", "trailers", "grpc", "uri", "units"];

/// Lines a file may have before its tests.
const LONGEST: usize = 500;

#[test]
fn imports_go_downwards_and_policy_stays_pure() {
    let files = sources();
    assert!(files.len() > 20, "the sources were not found: {files:?}");
    let violations: Vec<Violation> = files.iter().flat_map(|file| check(&module_of(file), &read(file))).collect();
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn files_are_short() {
    let mut lengths: Vec<(usize, PathBuf)> =
        sources().into_iter().map(|file| (before_tests(&read(&file)).lines().count(), file)).collect();
    lengths.sort();
    let (median, longest) = (lengths[lengths.len() / 2].0, &lengths[lengths.len() - 1]);
    println!(
        "{} files, median {median} lines before tests, longest {} {}",
        lengths.len(),
        longest.0,
        longest.1.display()
    );
    let over: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > LONGEST).collect();
    assert!(over.is_empty(), "over {LONGEST} lines before tests: {over:?}");
}

#[test]
fn every_module_at_the_root_has_its_layer() {
    let lib = tokens(&code(&read(&root().join("lib.rs"))));
    let declared = lib.windows(3).filter(|w| w[0] == "mod" && w[2] == ";").map(|w| w[1].as_str());
    let missing: Vec<&str> = declared.filter(|name| LAYERS.iter().all(|(layer, _)| layer != name)).collect();
    assert!(missing.is_empty(), "no layer says what these may import: {missing:?}");
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    module: String,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.module, self.what)
    }
}

/// What the source of `module` (`tail::window`) breaks.
fn check(module: &[String], source: &str) -> Vec<Violation> {
    let tokens = tokens(&code(before_tests(source)));
    let root = module.first().map_or("lib", String::as_str);
    let allowed = LAYERS.iter().find(|(layer, _)| *layer == root).map_or(&[][..], |(_, allowed)| allowed);
    let mut broken: Vec<String> = imports(&tokens, module.len())
        .into_iter()
        .filter(|import| import != root && !allowed.contains(&import.as_str()))
        .map(|import| format!("imports {import}"))
        .collect();
    if PURE.contains(&root) {
        broken.extend(worldly(&tokens).into_iter().map(|word| format!("is policy and names {word}")));
    }
    broken.dedup();
    broken.into_iter().map(|what| Violation { module: module.join("::"), what }).collect()
}

/// The modules at the crate's root that are named, in a file so many modules deep.
fn imports(tokens: &[String], depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let starts_path = at == 0 || tokens[at - 1] != "::";
        match tokens[at].as_str() {
            "crate" | "hedgerow" if starts_path && is(tokens, at + 1, "::") => found.extend(heads(tokens, at + 2)),
            "super" if starts_path => {
                let chain = tokens[at..].chunks(2).take_while(|pair| pair[0] == "super" && is(pair, 1, "::")).count();
                if chain == depth {
                    found.extend(heads(tokens, at + 2 * chain));
                }
            }
            _ => {}
        }
    }
    found
}

/// What stands first on a path, or first on each path of a `{…}` group.
fn heads(tokens: &[String], at: usize) -> Vec<String> {
    if !is(tokens, at, "{") {
        return tokens.get(at).cloned().into_iter().collect();
    }
    let (mut depth, mut heads) = (0, Vec::new());
    for at in at..tokens.len() {
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => {}
            word if depth == 1 && matches!(tokens[at - 1].as_str(), "{" | ",") => heads.push(word.to_owned()),
            _ => {}
        }
    }
    heads
}

/// What policy must not name: sockets, clocks, locks, logs, threads, files, chance of its own.
fn worldly(tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let word = tokens[at].as_str();
        let path = is(tokens, at + 1, "::");
        let next = || heads(tokens, at + 2);
        match word {
            "tokio" | "moka" | "parking_lot" | "Mutex" | "RwLock" => found.push(word.to_owned()),
            _ if word.starts_with("pingora") => found.push(word.to_owned()),
            "now" if is(tokens, at + 1, "(") => found.push("now()".to_owned()),
            "log" if path => found.push("log::".to_owned()),
            "net" if path && is(tokens, at.wrapping_sub(2), "std") => {
                let others =
                    next().into_iter().filter(|name| !matches!(name.as_str(), "IpAddr" | "Ipv4Addr" | "Ipv6Addr"));
                found.extend(others.map(|name| format!("std::net::{name}")));
            }
            "thread" | "fs" | "env" | "process" | "io" if is(tokens, at.wrapping_sub(2), "std") => {
                found.push(format!("std::{word}"));
            }
            // A generator comes in as an argument; one made here has chance of its own.
            "fastrand" if path => {
                found.extend(next().into_iter().filter(|name| name != "Rng").map(|name| format!("fastrand::{name}")));
            }
            "Rng" if path && next() == ["new"] => found.push("Rng::new".to_owned()),
            _ => {}
        }
    }
    found
}

fn is(tokens: &[String], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|token| token == word)
}

/// Identifiers, `::`, and every other mark on its own.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The source without comments and without what stands in quotes.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest),
            'r' if starts_word(&code) => raw_string(rest).unwrap_or(0),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

fn starts_word(before: &str) -> bool {
    let last = before.strip_suffix('b').unwrap_or(before).chars().next_back();
    !last.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let marks = text[1..].find(|c| c != '#')?;
    let body = text[1 + marks..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(marks));
    body.find(&end).map(|at| 1 + marks + 1 + at + end.len())
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// The source up to its tests.
fn before_tests(source: &str) -> &str {
    const MARK: &str = "\n#[cfg(test)]\n";
    let is_module = |after: &str| after.lines().next().unwrap_or_default().split_whitespace().any(|word| word == "mod");
    match source.match_indices(MARK).find(|(at, _)| is_module(&source[at + MARK.len()..])) {
        Some((at, _)) => &source[..=at],
        None => source,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file but those that hold only tests.
fn sources() -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be listed") {
            let path = entry.expect("src can be listed").path();
            match path.file_stem().and_then(|stem| stem.to_str()) {
                Some("tests") => {}
                _ if path.is_dir() => folders.push(path),
                _ if path.extension().is_some_and(|e| e == "rs") => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| unreadable(file, &e))
}

#[expect(clippy::panic, reason = "a test without its input")]
fn unreadable(file: &Path, error: &std::io::Error) -> String {
    panic!("{}: {error}", file.display())
}

/// `src/tail/window.rs` is `tail::window`, `src/tail/mod.rs` is `tail`, `src/lib.rs` is the root itself.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(root()).expect("below src").with_extension("");
    let mut module: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// What `check` says of a snippet.
fn said(module: &str, source: &str) -> Vec<String> {
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    check(&module, source).into_iter().map(|violation| violation.what).collect()
}

#[test]
fn an_import_upwards_is_found_however_it_is_written() {
    for source in [
        "use crate::proxy::Ctx;",
        "use crate::{units::Tick, proxy};",
        "use crate::{\n    units::{self, Ratio},\n    proxy::{Ctx, Phase},\n};",
        "fn f() -> crate::proxy::Ctx { todo }",
        "use super::super::proxy;",
        "pub(crate) use crate::proxy as p;",
    ] {
        assert_eq!(said("tail::window", source), ["imports proxy"], "{source}");
    }
    assert_eq!(said("tail", "use super::proxy;"), ["imports proxy"]);
    assert_eq!(said("main", "fn main() { hedgerow::server::run() }"), ["imports server"]);
    assert_eq!(said("config::check", "use crate::*;"), ["imports *"]);
}

#[test]
fn what_is_allowed_is_not_complained_of() {
    for (module, source) in [
        ("tail::window", "use crate::units::Tick; use super::ewma; use crate::tail::budget;"),
        ("tail", "mod proxy_like; use super::units; pub(crate) struct S;"),
        ("proxy::route", "use crate::{cache, snapshot, store};"),
        ("uri", "use std::net::{IpAddr, Ipv6Addr}; // crate::proxy is above\n"),
        ("uri", "const S: &str = \"use crate::proxy;\"; const C: char = '\"'; fn f<'a>(_: &'a str) {}"),
        ("cache", "const R: &str = r#\"crate::proxy \"quoted\" tokio\"#; /* tokio /* nested */ moka */"),
        ("tail", "fn f(now: Tick, rng: &mut fastrand::Rng) {}\n\n#[cfg(test)]\nmod tests { use crate::proxy; tokio }"),
        ("tail", "#[cfg(test)]\nuse super::units;\n#[cfg(test)]\npub(super) mod tests { use crate::proxy; }"),
    ] {
        assert_eq!(said(module, source), [""; 0], "{module}: {source}");
    }
}

#[test]
fn policy_that_names_the_world_is_found() {
    for (source, word) in [
        ("use tokio::sync::Notify;", "tokio"),
        ("fn f(h: &pingora_http::RequestHeader) {}", "pingora_http"),
        ("use moka::sync::Cache;", "moka"),
        ("let t = Instant::now();", "now()"),
        ("log::warn!(\"x\");", "log::"),
        ("use std::net::SocketAddr;", "std::net::SocketAddr"),
        ("use std::net::{IpAddr, TcpStream};", "std::net::TcpStream"),
        ("std::thread::yield_now();", "std::thread"),
        ("let p: std::sync::Mutex<u8>;", "Mutex"),
        ("let x = fastrand::u32(..);", "fastrand::u32"),
        ("let r = fastrand::Rng::new();", "Rng::new"),
    ] {
        let expected = format!("is policy and names {word}");
        assert_eq!(said("balance::least_loaded", source), [expected], "{source}");
    }
    assert_eq!(said("server", "use tokio::net::TcpListener; fn f() { log::info!(\"\") }"), [""; 0]);
}
