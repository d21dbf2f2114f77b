//! docs/configuration.md describes every key, and no other.

use hedgerow::config::{self, KEYS};

const DOCUMENT: &str = include_str!("../docs/configuration.md");

/// The keys that have a row: the first cell of a table, when it is one word in backticks.
fn described() -> Vec<&'static str> {
    let first_cell = |line: &'static str| line.strip_prefix("| `")?.split_once("` |").map(|(key, _)| key);
    DOCUMENT.lines().filter_map(first_cell).collect()
}

#[test]
fn every_key_has_one_row() {
    let described = described();
    for key in KEYS {
        let rows = described.iter().filter(|row| *row == key).count();
        assert_eq!(rows, 1, "`{key}` has {rows} rows in docs/configuration.md");
    }
}

#[test]
fn every_row_is_of_a_key() {
    for key in described() {
        assert!(KEYS.contains(&key), "`{key}` is described in docs/configuration.md, but is no key");
    }
}

#[test]
fn no_dotted_word_in_backticks_is_a_key_that_does_not_exist() {
    let tops = ["server", "listener", "cache", "log", "access_log", "tracing", "pool", "route", "profile", "tls"];
    for word in DOCUMENT.split('`').skip(1).step_by(2) {
        let is_dotted = word.contains('.') && word.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_'));
        if is_dotted && tops.contains(&word.split('.').next().unwrap_or("")) {
            let is_key = KEYS.iter().any(|key| *key == word || key.ends_with(&format!(".{word}")));
            assert!(is_key, "`{word}` stands in docs/configuration.md, but is no key");
        }
    }
}

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    DOCUMENT.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_example_can_be_used() {
    for block in blocks("toml") {
        let pool = "[[pool]]\nname = \"web\"\nbackends = [\"127.0.0.1:8000\"]\n";
        let above = if block.starts_with("[route.cache]") { "[[route]]\n" } else { "" };
        let text = if block.contains("[[pool]]") { block.to_owned() } else { format!("{pool}{above}{block}") };
        // Its files are the reader's.
        let text =
            text.replace("cert = \"", "cert = \"tests/config/").replace("key = \"shop", "key = \"tests/config/shop");
        match config::parse_str("example.toml", &text) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{block}"),
            Err(problems) => panic!("{block}\n{problems:#?}"),
        }
    }
    assert!(blocks("toml").len() > 4);
}

#[test]
fn the_problems_shown_are_real_ones() {
    let shown: Vec<_> = DOCUMENT.lines().filter(|line| line.starts_with("edge.toml:")).collect();
    assert_eq!(shown.len(), 3);
    for line in shown {
        assert!(include_str!("config/mistakes.txt").lines().any(|real| real == line), "{line}");
    }
}

/// The defaults that stand in both places as a plain value say the same.
#[test]
fn the_defaults_of_the_document_are_those_of_the_default_file() {
    let mut compared = 0;
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split(" | ").collect();
        let [key, _, default, ..] = cells[..] else { continue };
        let key = key.trim_start_matches("| `").trim_end_matches('`');
        let Some(default) = default.strip_prefix('`').and_then(|d| d.split('`').next()) else { continue };
        let name = key.rsplit('.').next().unwrap_or(key);
        let pattern = format!("{name} = {default}");
        // Optional tables stand as comments, with values that show their form.
        if [
            "tracing.resource",
            "tracing.headers",
            "pool.health.",
            "pool.tls.",
            "pool.backends.weight",
            "route.name",
            "route.pool",
        ]
        .iter()
        .any(|p| key.starts_with(p))
        {
            continue;
        }
        let is_there = config::DEFAULT.lines().any(|line| line.contains(&pattern));
        assert!(
            is_there,
            "docs/configuration.md gives `{pattern}` as the default of `{key}`, conf/hedgerow.toml does not"
        );
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}
