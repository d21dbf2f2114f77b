//! The files in conf/, and directories of files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use hedgerow::config::{self, Config, KEYS, Problem};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn config(text: &str) -> Config {
    config::parse_str("t.toml", text).unwrap().config
}

/// A directory of its own for one test, emptied first and removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str, files: &[(&str, &str)]) -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        Directory(path)
    }

    /// The problems of loading it, with its own path cut from their names.
    fn problems(&self) -> Vec<String> {
        let problems: Vec<Problem> = match config::load(&self.0) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        let prefix = format!("{}/", self.0.display());
        problems.iter().map(|p| p.to_string().replace(&prefix, "")).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const WEB: &str = "[[pool]]\nname = \"web\"\nbackends = [\"127.0.0.1:8001\"]\n";

#[test]
fn the_default_file_says_what_holds_without_it() {
    let loaded = config::parse_str("conf/hedgerow.toml", config::DEFAULT).unwrap();
    assert_eq!(loaded.warnings, []);
    let pool = "[[pool]]\nname = \"web\"\nbackends = [\"127.0.0.1:8001\", \"127.0.0.1:8002\", \"127.0.0.1:8003\"]";
    assert_eq!(loaded.config, config(pool));
    assert_eq!(fs::read_to_string(root().join("conf/hedgerow.toml")).unwrap(), config::DEFAULT);
}

#[test]
fn the_default_file_names_every_key() {
    for key in KEYS {
        let name = key.rsplit('.').next().unwrap();
        let is_named = config::DEFAULT
            .lines()
            .any(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| word == name));
        assert!(is_named, "{key}");
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("conf/examples")).unwrap() {
        let path = entry.unwrap().path();
        match config::load(&path) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", path.display()),
            Err(problems) => panic!("{problems:#?}"),
        }
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn the_files_of_a_directory_add_up_in_name_order() {
    let directory = Directory::new(
        "merge",
        &[
            ("10-server.toml", "[server]\nthreads = 3\n[log]\nlevel = \"warn\""),
            (
                "20-shop.toml",
                "[[pool]]\nname = \"shop\"\nbackends = [\"h:1\"]\n[[route]]\nmatch.host = \"shop.example\"\npool = \"shop\"",
            ),
            (
                "30-blog.toml",
                "[[pool]]\nname = \"blog\"\nbackends = [\"h:2\"]\n[[route]]\npool = \"blog\"\nprofile = \"slow\"",
            ),
            ("40-profiles.toml", "[profile.slow]\ntimeout = \"5m\""),
            ("readme.txt", "not read"),
            (".90-hidden.toml", "not read"),
        ],
    );
    let loaded = config::load(&directory.0).unwrap();
    assert_eq!(loaded.warnings, []);
    let names: Vec<_> = loaded.config.routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["shop.example", "default"]);
    assert_eq!(loaded.config.pools[1].name, "blog");
    assert_eq!(loaded.config.routes[1].timeout.as_secs(), 300);
    assert_eq!(loaded.config.server.threads, 3);
}

#[test]
fn what_stands_in_two_files_is_reported_with_both() {
    let directory = Directory::new(
        "clash",
        &[
            ("a.toml", &format!("[server]\nthreads = 1\n{WEB}[profile.p]\n[[route]]\nprofile = \"p\"")),
            ("b.toml", &format!("\n[profile.p]\n[server.limits]\nheaders = 5\n{WEB}[[route]]\nmatch.path = \"/**\"")),
        ],
    );
    assert_eq!(
        directory.problems(),
        [
            "b.toml:2:10: profile.p: profile `p` already stands at a.toml:6",
            "b.toml:3:2: server: `[server]` already stands in a.toml:1, expected in one file only",
            "b.toml:6:8: pool.name: pool `web` already stands at a.toml:4",
            "b.toml:9:1: route.match: is never reached: the route at a.toml:7 has the same match",
        ]
    );
}

#[test]
fn problems_come_in_the_order_of_files_and_lines() {
    let directory = Directory::new("order", &[("a.toml", "x = 1\n\ny = "), ("b.toml", "z = 1"), ("c.toml", WEB)]);
    let places: Vec<_> = directory.problems().iter().map(|p| p.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["a.toml:1:1", "a.toml:3:5", "b.toml:1:1"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let empty = Directory::new("empty", &[("a.txt", "")]);
    let path = empty.0.display();
    assert_eq!(empty.problems(), [format!("{path}: no *.toml file in this directory")]);
    let missing = empty.0.join("none.toml");
    let problems = config::load(&missing).unwrap_err();
    assert!(problems[0].to_string().contains("none.toml: cannot be read: "), "{}", problems[0]);
    fs::write(empty.0.join("b.toml"), b"a = 1\n# \xff\n").unwrap();
    assert_eq!(empty.problems(), ["b.toml: line 2 is not UTF-8"]);
}

#[test]
fn paths_are_relative_to_their_file() {
    let tls = "tls = { ca = \"ca.pem\" }\n[access_log]\noutput = \"./access.log\"\n";
    let directory = Directory::new("paths", &[("a.toml", &format!("{WEB}{tls}")), ("ca.pem", "")]);
    let config = config::load(&directory.0.join("a.toml")).unwrap().config;
    assert_eq!(config.pools[0].tls.as_ref().unwrap().ca.as_deref(), Some(directory.0.join("ca.pem").as_path()));
    assert_eq!(config.access_log.output, config::LogOutput::File(directory.0.join("./access.log")));
}
