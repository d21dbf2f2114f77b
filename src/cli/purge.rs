//! `hedgerow purge`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{print, say};
use crate::ask;

/// Where, what and how.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// The admin address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    #[command(flatten)]
    what: What,
    /// Keep what is purged, stale, for when the backends fail
    #[arg(long)]
    soft: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// One URL with all its variants, http and https alike; its query belongs to it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What has this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Everything of a host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Every URL that begins so
    #[arg(long, value_name = "URL")]
    prefix: Option<String>,
    /// Every URL whose host and path match, such as "*.shop.example/img/**"
    #[arg(long, value_name = "GLOB")]
    glob: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

impl Purge {
    /// Asks the edge, and prints its answer.
    pub(super) fn run(self) -> ExitCode {
        match ask::ask(self.admin, "POST", "/purge", Some(&self.order().to_string())) {
            Ok(answer) if answer.is_success() => print(&answer.body),
            Ok(answer) => {
                say(&answer.body);
                ExitCode::FAILURE
            }
            Err(e) => {
                say(&format!("hedgerow: {}: {e}\n", self.admin));
                ExitCode::FAILURE
            }
        }
    }

    fn order(&self) -> Value {
        let What { url, tag, host, prefix, glob, all } = &self.what;
        let mut order = Map::new();
        for (name, text) in [("url", url), ("host", host), ("prefix", prefix), ("glob", glob)] {
            if let Some(text) = text {
                order.insert(name.to_owned(), json!(text));
            }
        }
        if !tag.is_empty() {
            order.insert("tags".to_owned(), json!(tag));
        }
        if *all {
            order.insert("all".to_owned(), json!(true));
        }
        order.insert("soft".to_owned(), json!(self.soft));
        Value::Object(order)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        purge: Purge,
    }

    fn order(arguments: &[&str]) -> Result<Value, String> {
        let line = std::iter::once(&"purge").chain(arguments);
        Line::try_parse_from(line).map(|line| line.purge.order()).map_err(|e| e.to_string())
    }

    #[test]
    fn each_selector_becomes_an_order() {
        assert_eq!(order(&["--url", "http://a/b"]), Ok(json!({ "url": "http://a/b", "soft": false })));
        assert_eq!(order(&["--tag", "a", "--tag", "b", "--soft"]), Ok(json!({ "tags": ["a", "b"], "soft": true })));
        assert_eq!(order(&["--host", "a"]), Ok(json!({ "host": "a", "soft": false })));
        assert_eq!(order(&["--prefix", "a/b"]), Ok(json!({ "prefix": "a/b", "soft": false })));
        assert_eq!(order(&["--glob", "a/**"]), Ok(json!({ "glob": "a/**", "soft": false })));
        assert_eq!(order(&["--all"]), Ok(json!({ "all": true, "soft": false })));
    }

    #[test]
    fn exactly_one_selector_is_wanted() {
        assert!(order(&[]).is_err());
        assert!(order(&["--soft"]).is_err());
        assert!(order(&["--all", "--host", "a"]).is_err());
    }
}
