//! `POST /purge`: purges what the request's body names.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::cache::purge::{BadSelector, Selector, Url};
use crate::clock;
use crate::edge::Edge;

/// Bytes of a body that are read: more than the tags of one purge can have.
pub(super) const MOST: usize = 256 << 10;

/// What is asked for: one selector, and how.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Order {
    url: Option<String>,
    tag: Option<String>,
    tags: Option<Vec<String>>,
    host: Option<String>,
    prefix: Option<String>,
    glob: Option<String>,
    all: bool,
    soft: bool,
}

/// Reads `body`, purges, and tells.
pub(super) fn answer(edge: &Edge, body: &[u8]) -> Answer {
    let refuse = |status, reason, sentence: String| {
        edge.metrics().purge_refused(reason);
        Answer::json(status, &json!({ "errors": [sentence] }))
    };
    let (selector, what, soft) = match read(body) {
        Ok(read) => read,
        Err(sentence) => return refuse(400, "invalid", sentence),
    };
    let kind = selector.kind();
    let at = soft.then(clock::wall);
    match edge.store().purge_by(as_keyed(edge, selector), at) {
        Ok(number) => {
            edge.metrics().purged("admin", kind);
            log::info!("purge {number}: {kind} {what}{}", if soft { ", soft" } else { "" });
            Answer::json(200, &json!({ "kind": kind, "purged": what, "soft": soft, "number": number }))
        }
        Err(full) => refuse(503, "full", format!("nothing was purged: {full}")),
    }
}

/// The answer to a body of more than [`MOST`] bytes.
pub(super) fn too_large(edge: &Edge) -> Answer {
    edge.metrics().purge_refused("invalid");
    Answer::json(413, &json!({ "errors": [format!("the body is larger than {MOST} bytes")] }))
}

fn read(body: &[u8]) -> Result<(Selector, Value, bool), String> {
    let unlike = |e: &dyn std::fmt::Display| {
        format!("the body is not such as {{\"url\": \"http://shop.example/a\", \"soft\": false}}: {e}")
    };
    let value: Value = serde_json::from_slice(body).map_err(|e| unlike(&e))?;
    // A list would be taken for the fields in their order.
    if !value.is_object() {
        return Err(unlike(&"expected an object"));
    }
    let order = Order::deserialize(value).map_err(|e| unlike(&e))?;
    let single = |make: fn(&str) -> Result<Selector, BadSelector>, name: &'static str, text: Option<String>| {
        text.map(|text| (name, make(&text), json!(text)))
    };
    let tags = match (order.tags, order.tag) {
        (Some(_), Some(_)) => return Err("expected `tag` or `tags`, found both".to_owned()),
        (Some(tags), None) => Some(("tags", tags)),
        (None, Some(tag)) => Some(("tag", vec![tag])),
        (None, None) => None,
    };
    let named = [
        single(Selector::url, "url", order.url),
        tags.map(|(name, tags)| (name, Selector::tags(tags.clone()), json!(tags))),
        single(Selector::host, "host", order.host),
        single(Selector::prefix, "prefix", order.prefix),
        single(Selector::glob, "glob", order.glob),
        order.all.then_some(("all", Ok(Selector::All), json!(true))),
    ];
    let mut named = named.into_iter().flatten();
    let expected = "expected one of `url`, `tag`, `tags`, `host`, `prefix`, `glob` and `all`";
    match (named.next(), named.next()) {
        (None, _) => Err(format!("{expected}, found none")),
        (Some((one, ..)), Some((other, ..))) => Err(format!("{expected}, found `{one}` and `{other}`")),
        (Some((name, selector, what)), None) => match selector {
            Ok(selector) => Ok((selector, what, order.soft)),
            Err(bad) => Err(format!("{name}: {bad}")),
        },
    }
}

/// A URL as its route keys it: with the one host of all, and the query that counts.
fn as_keyed(edge: &Edge, selector: Selector) -> Selector {
    let Selector::Url(url) = selector else { return selector };
    let snapshot = edge.snapshot();
    let host = url.authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.map_or(url.authority.as_str(), |(host, _)| host);
    let query = snapshot.keyed_query(host, &url.path, url.query.as_deref()).map(std::borrow::Cow::into_owned);
    let authority = snapshot.keyed_host(host, &url.path).map_or_else(|| url.authority.clone(), str::to_owned);
    Selector::Url(Url { authority, query, path: url.path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> Result<&'static str, String> {
        read(body.as_bytes()).map(|(selector, ..)| selector.kind())
    }

    #[test]
    fn each_selector_is_read() {
        for (body, expected) in [
            (r#"{"url": "http://shop.example/a"}"#, "url"),
            (r#"{"tag": "a"}"#, "tag"),
            (r#"{"tags": ["a", "b"], "soft": true}"#, "tag"),
            (r#"{"host": "shop.example"}"#, "host"),
            (r#"{"prefix": "http://shop.example/a"}"#, "prefix"),
            (r#"{"glob": "shop.example/**"}"#, "glob"),
            (r#"{"all": true}"#, "all"),
        ] {
            assert_eq!(kind(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn every_mistake_has_a_sentence() {
        for (body, part) in [
            ("", "EOF"),
            ("[]", "the body is not such as"),
            ("{}", "found none"),
            (r#"{"all": false}"#, "found none"),
            (r#"{"all": 1}"#, "boolean"),
            (r#"{"urls": "a"}"#, "unknown field"),
            (r#"{"url": "http://a/", "host": "a"}"#, "found `url` and `host`"),
            (r#"{"tag": "a", "tags": []}"#, "found both"),
            (r#"{"url": "/a"}"#, "url: "),
            (r#"{"tags": []}"#, "tags: a tag has"),
            (r#"{"glob": "a"}"#, "HOST/PATH"),
        ] {
            let sentence = kind(body).expect_err(body);
            assert!(sentence.contains(part), "{part} is not in: {sentence}");
        }
    }
}
