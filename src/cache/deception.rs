//! Is a response what its path says it is?
//!
//! Many applications ignore what follows a path they know: `/account/x.css` shows the account. Where the edge caches by
//! path without the origin's word, whoever gets a signed-in user to open that link finds the user's page in the cache
//! (web cache deception). The page's own type gives it away: no stylesheet is HTML.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Extensions of files that are the same for everyone, and the types they have: starts of a `Content-Type`.
const KINDS: &[(&[&str], &[&str])] = &[
    (&["css"], &["text/css"]),
    (&["js", "mjs", "cjs"], &["text/javascript", "application/javascript", "application/x-javascript"]),
    (&["png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "ico", "svg", "svgz", "tif", "tiff"], &["image/"]),
    (
        &["woff", "woff2", "ttf", "otf", "eot"],
        &["font/", "application/font", "application/x-font", "application/vnd.ms-fontobject"],
    ),
    (&["mp4", "m4v", "webm", "mov", "mkv", "avi", "ts", "ogv"], &["video/"]),
    (&["mp3", "m4a", "ogg", "opus", "wav", "flac", "aac"], &["audio/", "video/ogg", "application/ogg"]),
    (&["pdf"], &["application/pdf"]),
    (&["wasm"], &["application/wasm"]),
    (&["zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "jar", "exe", "dmg", "iso", "apk"], &["application/"]),
];
/// What may stand for any file. Pages and API answers, which are what there is to steal, are never of this type.
const ANY_FILE: &str = "application/octet-stream";
/// Types of answers that are made for somebody, whatever `application/` allows for archives.
const ANSWERS: [&str; 4] = ["application/json", "application/xml", "application/xhtml", "application/problem"];

/// Whether `path` ends like a static file and the response's `Content-Type` is not that of such a file. A response
/// without a type may be anything, so it counts as deceptive; a path without a known extension promises nothing.
pub fn is_deceptive(path: &str, response: &HeaderMap) -> bool {
    let Some(types) = promised(path) else { return false };
    let declared = response.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes().trim_ascii_start());
    let is =
        |start: &&str| declared.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()));
    !is(&ANY_FILE) && (ANSWERS.iter().any(&is) || !types.iter().any(is))
}

/// The types that the path's extension promises.
fn promised(path: &str) -> Option<&'static [&'static str]> {
    let name = path.rsplit('/').next()?;
    // Escaped as it is in a normal form, a `%2F` may be a slash to the application: `/account%2Fx.css`.
    let (_, extension) = name.rsplit_once('.')?;
    let of_kind = |known: &&str| extension.eq_ignore_ascii_case(known);
    KINDS.iter().find(|(extensions, _)| extensions.iter().any(of_kind)).map(|(_, types)| *types)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn deceptive(path: &str, kind: &'static str) -> bool {
        is_deceptive(path, &[(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect())
    }

    #[test]
    fn a_page_under_a_file_name_is_deceptive() {
        for path in ["/account/x.css", "/account%2Fx.JS", "/account;x.png", "/a.b/me.woff2", "/me.pdf", "/me.zip"] {
            for kind in ["text/html; charset=utf-8", "application/json", "text/plain", ""] {
                assert!(deceptive(path, kind), "{path} {kind}");
            }
            assert!(is_deceptive(path, &HeaderMap::new()), "{path}");
        }
    }

    #[test]
    fn a_file_of_its_type_is_not() {
        for (path, kind) in [
            ("/x.css", "text/css"),
            ("/x.js", "Text/JavaScript; charset=utf-8"),
            ("/x.svg", "image/svg+xml"),
            ("/x.woff2", "font/woff2"),
            ("/x.mp4", "video/mp4"),
            ("/x.gz", "application/gzip"),
            ("/x.png", "application/octet-stream"),
        ] {
            assert!(!deceptive(path, kind), "{path} {kind}");
        }
    }

    #[test]
    fn a_path_that_promises_nothing_is_never_deceptive() {
        for path in ["/", "/account", "/v1.2/account", "/page.html", "/x.css/", "/.", "", "/x.php"] {
            assert!(!deceptive(path, "text/html"), "{path}");
        }
    }
}
