//! The page: the files of `web/`, built into the binary. The page uses the public HTTP API and nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::gateway::problem::Problem;

/// What the browser may load and run: nothing from other hosts, no inline script or style, and no text that becomes
/// markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($path:literal, $kind:expr) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("../../web/", $path)) }
    };
}

const INDEX: Asset = asset!("index.html", HTML);

const ASSETS: &[Asset] = &[
    asset!("icon.svg", SVG),
    asset!("style.css", CSS),
    asset!("js/access.js", JS),
    asset!("js/api.js", JS),
    asset!("js/control.js", JS),
    asset!("js/en.js", JS),
    asset!("js/finder.js", JS),
    asset!("js/focus.js", JS),
    asset!("js/frame.js", JS),
    asset!("js/i18n.js", JS),
    asset!("js/job.js", JS),
    asset!("js/jobs.js", JS),
    asset!("js/left.js", JS),
    asset!("js/lib.js", JS),
    asset!("js/listing.js", JS),
    asset!("js/main.js", JS),
    asset!("js/notices.js", JS),
    asset!("js/pt.js", JS),
    asset!("js/received.js", JS),
    asset!("js/secret.js", JS),
    asset!("js/secrets.js", JS),
    asset!("js/share.js", JS),
    asset!("js/state.js", JS),
    asset!("js/stream.js", JS),
    asset!("js/theme.js", JS),
    asset!("js/titles.js", JS),
    asset!("js/toasts.js", JS),
    asset!("js/ui.js", JS),
    asset!("js/unshare.js", JS),
    asset!("js/why.js", JS),
    asset!("js/words.js", JS),
    asset!("vendor/hooks.js", JS),
    asset!("vendor/htm.js", JS),
    asset!("vendor/preact.js", JS),
];

/// `GET /`: the page itself. Its views are fragments of the address, so that there is only this one document. The
/// browser must not keep it: a page that is kept for the Back button keeps what was shown in it.
pub(super) async fn index(headers: HeaderMap) -> Response {
    let mut response = answer(&INDEX, &headers);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /assets/…`: the scripts, the style and the icon of the page.
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.path == path) {
        Some(asset) => answer(asset, &headers),
        None => Problem::not_found().into_response(),
    }
}

/// Answers a file. The browser keeps it and asks each time whether it has changed, so that a new binary never meets
/// an old script.
fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let mut hasher = DefaultHasher::new();
    asset.text.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let same = headers.get_all(IF_NONE_MATCH).iter().any(|known| is_known(known, &tag));
    let mut response = match same {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, asset.kind)], asset.text).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Whether a list of tags has this one, or is `*`. Tags are compared weakly (RFC 9110, 13.1.2), because a proxy that
/// compresses makes a strong tag weak.
fn is_known(list: &HeaderValue, tag: &str) -> bool {
    let list = list.to_str().unwrap_or_default();
    let bare = |one: &str| one.trim().strip_prefix("W/").unwrap_or(one.trim()) == tag;
    list.trim() == "*" || list.split(',').any(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_weak_or_strong_and_in_a_list() {
        let is = |list: &'static str| is_known(&HeaderValue::from_static(list), "\"ab\"");
        for known in ["\"ab\"", "W/\"ab\"", "\"x\", W/\"ab\"", " W/\"ab\" ,\"x\"", "*"] {
            assert!(is(known), "{known}");
        }
        for other in ["", "\"x\"", "ab", "W/ab", "\"ab", "w/\"ab\"", "\"abc\""] {
            assert!(!is(other), "{other}");
        }
    }

    fn files(folder: &str) -> Vec<String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder of web/");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.ends_with(".js")).map(|name| format!("{folder}/{name}")).collect()
    }

    #[test]
    fn every_script_is_built_in_and_loaded_with_the_page() {
        for path in files("js").into_iter().chain(files("vendor")) {
            assert!(ASSETS.iter().any(|asset| asset.path == path), "{path} is not in ASSETS");
            assert!(INDEX.text.contains(&format!("\"assets/{path}\"")), "index.html does not load {path}");
        }
    }

    /// A proxy may show the page below a path of its own. What begins with a slash would be looked for outside of it.
    #[test]
    fn no_address_in_the_page_begins_with_a_slash() {
        for asset in ASSETS.iter().chain([&INDEX]).filter(|asset| !asset.path.starts_with("vendor/")) {
            for begins in
                ["src=\"/", "href=\"/", "url(/", "from \"/", "import(\"/", "\"/api/", "`/api/", "\"/assets/"]
            {
                assert!(!asset.text.contains(begins), "{}: {begins}", asset.path);
            }
        }
    }

    #[test]
    fn the_scripts_are_small() {
        let bytes: usize = ASSETS.iter().filter(|asset| asset.kind == JS).map(|asset| asset.text.len()).sum();
        assert!(bytes < 200 * 1_024, "{bytes} bytes of script");
    }

    #[test]
    fn both_languages_have_the_same_texts() {
        let keys = |path: &str| -> Vec<&str> {
            let asset = ASSETS.iter().find(|asset| asset.path == path).expect("a language");
            asset.text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect()
        };
        assert_eq!(keys("js/pt.js"), keys("js/en.js"));
    }

    #[test]
    fn every_reason_and_state_has_a_text() {
        use crate::domain::{FailReason, JobState, RejectReason};
        let has = |key: String| {
            assert!(ASSETS.iter().any(|a| a.path == "js/pt.js" && a.text.contains(&key)), "{key}")
        };
        FailReason::ALL.iter().for_each(|reason| has(format!("\"reason.{reason}\"")));
        RejectReason::ALL.iter().for_each(|reason| has(format!("\"reason.{reason}\"")));
        JobState::ALL.iter().for_each(|state| has(format!("\"state.{state}\"")));
        has(format!("\"retry.{}\"", crate::contract::RETRY_REASON));
    }
}
