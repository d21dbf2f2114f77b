//! `hedgerow explain`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{print, say};
use crate::ask;

/// What is asked, of whom.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The admin address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// The method
    #[arg(long = "request", short = 'X', value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A request field, as `Name: value`; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD", value_parser = field)]
    headers: Vec<(String, String)>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// The URL, with scheme and host
    url: String,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a field is written `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Explain {
    /// Asks the edge, and prints its answer.
    pub(super) fn run(self) -> ExitCode {
        let question = json!({ "url": self.url, "method": self.method, "headers": self.headers });
        match ask::ask(self.admin, "POST", "/explain", Some(&question.to_string())) {
            Ok(answer) if !answer.is_success() => {
                say(&answer.body);
                ExitCode::FAILURE
            }
            Ok(answer) if self.json => print(&answer.body),
            Ok(answer) => match serde_json::from_str(&answer.body) {
                Ok(told) => print(&text(&told)),
                Err(_) => print(&answer.body),
            },
            Err(e) => {
                say(&format!("hedgerow: {}: {e}\n", self.admin));
                ExitCode::FAILURE
            }
        }
    }
}

/// The answer for people.
fn text(told: &Value) -> String {
    let mut out = String::new();
    for name in ["request", "refused", "route", "pool", "priority", "hedge", "key"] {
        line(&mut out, name, &told[name]);
    }
    match &told["stored"] {
        Value::Null => line(&mut out, "stored", &json!("nothing")),
        stored => write_stored(&mut out, stored),
    }
    line(&mut out, "parts", &told["parts"]);
    line(&mut out, "refusal", &told["last_refusal"]);
    line(&mut out, "now", &told["now"]);
    for hint in told["hints"].as_array().into_iter().flatten() {
        line(&mut out, "change", hint);
    }
    out
}

fn line(out: &mut String, name: &str, value: &Value) {
    if let Some(text) = value.as_str() {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:9} {text}");
    }
}

fn write_stored(out: &mut String, stored: &Value) {
    let (lifetime, age) = (&stored["lifetime"], &stored["age"]);
    let what = format!("{}, {} bytes, {} variants", stored["status"], stored["length"], stored["variants"]);
    line(out, "stored", &json!(what));
    for field in stored["headers"].as_array().into_iter().flatten() {
        let (name, value) = (field[0].as_str().unwrap_or_default(), field[1].as_str().unwrap_or_default());
        line(out, "", &json!(format!("{name}: {value}")));
    }
    let by = if lifetime["targeted"] == json!(true) { ", in a targeted field" } else { "" };
    let source = lifetime["source"].as_str().unwrap_or_default();
    line(out, "lifetime", &json!(format!("{} s by {source}{by}", lifetime["fresh"])));
    line(out, "age", &json!(format!("{} s = {} s on arrival + {} s here", age["now"], age["on_arrival"], age["here"])));
    let windows = format!(
        "{} s (lifetime less age); then {} s while it is refreshed, {} s if the origin fails",
        stored["ttl"], lifetime["while_revalidate"], lifetime["if_error"]
    );
    line(out, "fresh for", &json!(windows));
    line(out, "asked", &json!(format!("the origin {}", lifetime["validation"].as_str().unwrap_or_default())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_split_at_its_first_colon() {
        assert_eq!(field("Referer: http://a/"), Ok(("Referer".into(), "http://a/".into())));
        assert!(field("Referer").is_err());
    }

    #[test]
    fn what_is_told_is_written_line_by_line() {
        let told = json!({
            "request": "GET http://a/b", "refused": null, "route": "default", "pool": "web",
            "priority": "critical", "hedge": "not yet", "key": "http://a/b",
            "stored": {
                "status": 200, "length": 5, "variants": 1, "headers": [["cache-control", "max-age=60"]], "ttl": 50,
                "lifetime": { "fresh": 60, "source": "max-age", "targeted": false, "while_revalidate": 0, "if_error": 9,
                              "validation": "when stale" },
                "age": { "on_arrival": 4, "here": 6, "now": 10 },
            },
            "last_refusal": null, "now": "this copy", "hints": ["none"],
        });
        let text = text(&told);
        for line in [
            "request   GET http://a/b",
            "priority  critical",
            "hedge     not yet",
            "stored    200, 5 bytes, 1 variants",
            "          cache-control: max-age=60",
            "lifetime  60 s by max-age",
            "age       10 s = 4 s on arrival + 6 s here",
            "fresh for 50 s (lifetime less age); then 0 s while it is refreshed, 9 s if the origin fails",
            "now       this copy",
            "change    none",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
    }
}
