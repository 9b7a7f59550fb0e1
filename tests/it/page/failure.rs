//! What a failed test of the page leaves: where it was, what was to be seen, and a screenshot.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use serde_json::Value;

use super::session::Session;

/// `target/screenshots`.
pub fn screenshots() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    target.join("screenshots")
}

/// Writes a PNG that came as base64, and makes its folder.
pub fn write_png(path: &Path, data: &Value) {
    let data = data.as_str().expect("a picture");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("write a picture");
}

impl Session {
    /// Ends the test with these words and what the page showed.
    pub fn fail(&self, what: &str) -> ! {
        *self.reported.lock().expect("reported") = true;
        panic!("{what}\n{}", self.report());
    }

    /// URL, visible text and the path of a screenshot; what cannot be had is left out.
    pub fn report(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let url = self.attempt("GET", "/url", None).map(text).unwrap_or_default();
        let shown = self.attempt_script("return document.body?.innerText ?? ''", &[]).map(text);
        let shown: String = shown.unwrap_or_default().chars().take(2_000).collect();
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("test").replace("::", "-");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = screenshots().join("failed").join(format!("{test}-{}-{count}.png", std::process::id()));
        let picture = match self.attempt("GET", "/screenshot", None) {
            Ok(data) => {
                write_png(&path, &data);
                path.display().to_string()
            }
            Err(refusal) => format!("none, {}", refusal.message),
        };
        format!("page: {url}\nscreenshot: {picture}\n--- visible text\n{shown}\n---")
    }
}
