//! HTTP/2 towards clients, frame by frame: what RFC 9113 and RFC 7541 say of right and wrong ones, over clear text and TLS,
//! each for a hit, a miss and a request with a body.

#![allow(clippy::panic, reason = "a broken test should stop at once")]

#[path = "h2_frames/mod.rs"]
mod suite;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use suite::ask::Ask;
use suite::run::Place;

const HIT: (&str, &str) = ("GET", "/hit");
const MISS: (&str, &str) = ("GET", "/miss");
const POST: (&str, &str) = ("POST", "/post");

async fn holds(is_secure: bool, (method, path): (&'static str, &'static str)) {
    Place::new(is_secure, method, path).await.holds().await;
}

#[tokio::test]
async fn frames_in_clear_text_around_hits() {
    holds(false, HIT).await;
}

#[tokio::test]
async fn frames_in_clear_text_around_misses() {
    holds(false, MISS).await;
}

#[tokio::test]
async fn frames_in_clear_text_around_bodies() {
    holds(false, POST).await;
}

#[tokio::test]
async fn frames_under_tls_around_hits() {
    holds(true, HIT).await;
}

#[tokio::test]
async fn frames_under_tls_around_misses() {
    holds(true, MISS).await;
}

#[tokio::test]
async fn frames_under_tls_around_bodies() {
    holds(true, POST).await;
}

/// What a section's rows stand under in the document: the chapter, and its name.
fn chapter(section: &str) -> &'static str {
    match section.split(['.', ' ']).next() {
        Some("3") => "3. Starting HTTP/2",
        Some("4") => "4. HTTP frames",
        Some("5") => "5. Streams and multiplexing",
        Some("6") => "6. Frame definitions",
        Some("7") => "7. Error codes",
        Some("8") => "8. Expressing HTTP semantics",
        Some("10") => "10.5 Denial of service",
        Some("HPACK") => "RFC 7541: HPACK",
        other => panic!("no chapter for {other:?}"),
    }
}

#[test]
fn the_document_tells_how_many_cases_there_are_and_what_deviates() {
    let document = include_str!("../docs/protocols.md");
    let cases = suite::cases(Ask { method: HIT.0, path: HIT.1, scheme: "https" });
    let (mut chapters, mut deviations, mut names) = (Vec::<(&str, usize)>::new(), BTreeMap::new(), BTreeSet::new());
    for case in &cases {
        assert!(names.insert((case.section, case.name)), "§{} {} is there twice", case.section, case.name);
        let chapter = chapter(case.section);
        match chapters.iter_mut().find(|(name, _)| *name == chapter) {
            Some((_, count)) => *count += 1,
            None => chapters.push((chapter, 1)),
        }
        if let Some(reason) = case.deviation {
            deviations.entry(reason).or_insert_with(BTreeSet::new).insert(case.section);
        }
    }
    chapters.sort_by_key(|(name, _)| (name.starts_with("RFC"), name.starts_with("10"), *name));
    let mut table = String::from("| chapter | cases |\n|---|---|\n");
    for (name, count) in chapters {
        let _ = writeln!(table, "| {name} | {count} |");
    }
    let _ = writeln!(table, "| all | {} |", cases.len());
    assert!(document.contains(&table), "docs/protocols.md does not have this table:\n{table}");
    let mut list = String::new();
    for (reason, sections) in deviations {
        let sections: Vec<_> =
            sections.into_iter().map(|section| format!("§{section}").replace("§HPACK ", "RFC 7541 §")).collect();
        let _ = writeln!(list, "* {reason} ({})", sections.join(", "));
    }
    assert!(document.contains(&list), "docs/protocols.md does not have this list:\n{list}");
}
