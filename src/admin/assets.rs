//! The live page: files written by hand, part of the binary. It asks nobody but this listener, and its policy says so.

use http::HeaderName;
use http::header::CONTENT_SECURITY_POLICY;

use super::Answer;

/// Nothing but our own files, no script or style in the page itself, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FIELD: (HeaderName, &str) = (CONTENT_SECURITY_POLICY, POLICY);

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Where the page is.
pub(super) const PAGE: &str = "/live";

/// Path, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    (PAGE, HTML, include_str!("page/index.html")),
    ("/live/style.css", STYLE, include_str!("page/style.css")),
    ("/live/main.js", SCRIPT, include_str!("page/main.js")),
    ("/live/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/live/tables.js", SCRIPT, include_str!("page/tables.js")),
    ("/live/text.js", SCRIPT, include_str!("page/text.js")),
    ("/live/icon.svg", IMAGE, include_str!("page/icon.svg")),
];

/// The file at `path`, if there is one.
pub(super) fn find(path: &str) -> Option<Answer> {
    let (_, kind, body) = FILES.iter().find(|(name, ..)| *name == path)?;
    Some(Answer { status: 200, kind, body: (*body).into(), more: Some(FIELD) })
}
