//! A person's browser: a Chromium with a profile of its own, blocking, gone with the value.
//!
//! Things are found as a person with a screen reader finds them, by role and accessible name, in
//! Chromium's own accessibility tree. Whatever is looked for is waited for.
//!
//! A call blocks its thread. A gateway that runs inside the test needs another one:
//! `#[tokio::test(flavor = "multi_thread")]`.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::driver::Driver;
use super::element::{Element, Found, Name};
use super::failure::write_png;
use super::session::{ELEMENT, PATIENCE, Session};

pub struct Browser {
    pub(super) session: Arc<Session>,
    emulated: Mutex<Emulated>,
    _profile: tempfile::TempDir,
}

/// What each tab is told anew.
struct Emulated {
    size: (u32, u32),
    theme: String,
    reduced_motion: bool,
}

impl Browser {
    /// A browser in English, 1280 by 800, light.
    pub fn start() -> Self {
        Self::speaking("en-US")
    }

    /// A browser in another language.
    pub fn speaking(language: &str) -> Self {
        Self::on(Driver::get(), language)
    }

    pub(super) fn on(driver: &Driver, language: &str) -> Self {
        let profile = tempfile::tempdir_in(&driver.folder).expect("a profile");
        let mut args: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-breakpad",
            "--hide-scrollbars",
            "--no-first-run",
            // Nothing leaves the machine.
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            // It ends when chromedriver does.
            "--remote-debugging-pipe",
        ]
        .map(str::to_owned)
        .into();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        args.push(format!("--lang={language}"));
        args.push(format!("--accept-lang={language}"));
        let capabilities = json!({
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let emulated = Emulated { size: (1280, 800), theme: "light".to_owned(), reduced_motion: false };
        let browser = Self {
            session: Arc::new(Session::start(&driver.address, &capabilities)),
            emulated: Mutex::new(emulated),
            _profile: profile,
        };
        browser.emulate(|_| ());
        browser
    }

    // ---- Where it is ---------------------------------------------------------------------------

    /// Opens a page and waits until it is loaded.
    pub fn goto(&self, url: &str) {
        self.session.post("/url", &json!({ "url": url }));
    }

    pub fn reload(&self) {
        self.session.post("/refresh", &json!({}));
    }

    pub fn url(&self) -> String {
        self.session.get("/url").as_str().expect("a URL").to_owned()
    }

    pub fn title(&self) -> String {
        self.session.get("/title").as_str().expect("a title").to_owned()
    }

    // ---- Tabs ----------------------------------------------------------------------------------

    /// The handle of the tab in front.
    pub fn tab(&self) -> String {
        self.session.get("/window").as_str().expect("a handle").to_owned()
    }

    /// Opens an empty tab and brings it to the front.
    pub fn new_tab(&self) -> String {
        let made = self.session.post("/window/new", &json!({ "type": "tab" }));
        let handle = made["handle"].as_str().expect("a handle").to_owned();
        self.switch(&handle);
        handle
    }

    /// Brings a tab to the front.
    pub fn switch(&self, tab: &str) {
        self.session.post("/window", &json!({ "handle": tab }));
        self.emulate(|_| ());
    }

    /// Closes the tab in front; another comes to the front.
    pub fn close_tab(&self) {
        let left = self.session.delete("/window");
        let first = left[0].as_str().expect("a browser's last tab stays open").to_owned();
        self.switch(&first);
    }

    // ---- What the person's machine is like -----------------------------------------------------

    /// The size of the page in CSS pixels, exactly.
    pub fn size(&self, width: u32, height: u32) {
        self.emulate(|emulated| emulated.size = (width, height));
    }

    /// What the person prefers: `light` or `dark`.
    pub fn theme(&self, theme: &str) {
        self.emulate(|emulated| theme.clone_into(&mut emulated.theme));
    }

    /// Whether the person asked for less motion.
    pub fn reduced_motion(&self, reduced: bool) {
        self.emulate(|emulated| emulated.reduced_motion = reduced);
    }

    fn emulate(&self, change: impl FnOnce(&mut Emulated)) {
        let mut emulated = self.emulated.lock().expect("what is emulated");
        change(&mut emulated);
        let (width, height) = emulated.size;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.session.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let motion = if emulated.reduced_motion { "reduce" } else { "no-preference" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": emulated.theme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.session.cdp("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Cuts the network off, or brings it back. New requests fail; a stream that is open fails with
    /// its next byte.
    pub fn offline(&self, offline: bool) {
        let conditions = json!({ "offline": offline, "latency": 0, "throughput": -1 });
        self.session.post("/chromium/network_conditions", &json!({ "network_conditions": conditions }));
    }

    // ---- The page from inside ------------------------------------------------------------------

    /// Runs JavaScript, the body of a function with `arguments`; what it returns (a promise is
    /// waited for).
    pub fn script(&self, js: &str, args: &[Value]) -> Value {
        self.session.post("/execute/sync", &json!({ "script": js, "args": args }))
    }

    /// The same for what calls back: its last argument is a function that takes the result.
    pub fn script_async(&self, js: &str, args: &[Value]) -> Value {
        self.session.post("/execute/async", &json!({ "script": js, "args": args }))
    }

    /// A command of Chromium's own protocol, to the tab in front.
    pub fn cdp(&self, command: &str, params: &Value) -> Value {
        self.session.cdp(command, params)
    }

    /// The console's messages from a warning on, since the last call: `WARNING …` or `SEVERE …`.
    /// A broken content policy and a failed request count among them.
    pub fn console(&self) -> Vec<String> {
        let entries = self.session.post("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a log").iter();
        let lines = entries.map(|entry| {
            let field = |name: &str| entry[name].as_str().unwrap_or_default();
            format!("{} {}", field("level"), field("message"))
        });
        lines.filter(|line| line.starts_with("WARNING") || line.starts_with("SEVERE")).collect()
    }

    // ---- What is to be seen --------------------------------------------------------------------

    /// All visible text.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText", &[]).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the visible text has this.
    pub fn see(&self, text: &str) {
        self.session
            .wait(&format!("the text '{text}'"), PATIENCE, || self.text().contains(text).then_some(()));
    }

    /// Waits until the visible text has this no more.
    pub fn see_no_more(&self, text: &str) {
        self.session
            .wait(&format!("no text '{text}'"), PATIENCE, || (!self.text().contains(text)).then_some(()));
    }

    /// What is in the window, as a PNG.
    pub fn screenshot(&self, path: &Path) {
        write_png(path, &self.session.get("/screenshot"));
    }

    /// The whole page at its full height, as a PNG.
    pub fn screenshot_full(&self, path: &Path) {
        let size = self.cdp("Page.getLayoutMetrics", &json!({}))["cssContentSize"].take();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let picture = self.cdp(
            "Page.captureScreenshot",
            &json!({ "format": "png", "captureBeyondViewport": true, "clip": clip }),
        );
        write_png(path, &picture["data"]);
    }

    // ---- Keys ----------------------------------------------------------------------------------

    /// Types text into whatever has the focus.
    pub fn keys(&self, text: &str) {
        let strokes = text.chars().flat_map(|c| [stroke("keyDown", c), stroke("keyUp", c)]);
        self.act(strokes.collect());
    }

    /// Presses one key by its name, perhaps with others held: `Tab`, `Shift+Tab`, `Control+a`.
    pub fn press(&self, chord: &str) {
        let keys: Vec<char> = chord.split('+').map(key).collect();
        let down = keys.iter().map(|c| stroke("keyDown", *c));
        let up = keys.iter().rev().map(|c| stroke("keyUp", *c));
        self.act(down.chain(up).collect());
    }

    fn act(&self, strokes: Vec<Value>) {
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.session.post("/actions", &json!({ "actions": [keyboard] }));
    }

    /// What has the focus.
    pub fn focused(&self) -> Element {
        let found = self.session.get("/element/active");
        Element::of(&self.session, found[ELEMENT].as_str().expect("an id").to_owned(), None)
    }

    // ---- Finding -------------------------------------------------------------------------------

    /// The one with this role and this accessible name; waits for it. Several are a failure.
    pub fn by_role(&self, role: &str, name: &str) -> Element {
        Found::new(None, role, Name::Is(name.to_owned())).one(&self.session)
    }

    /// The one whose accessible name has this in it.
    pub fn by_role_containing(&self, role: &str, name: &str) -> Element {
        Found::new(None, role, Name::Has(name.to_owned())).one(&self.session)
    }

    /// All with this role, as they are now.
    pub fn all_by_role(&self, role: &str) -> Vec<Element> {
        Found::new(None, role, Name::Any).all(&self.session)
    }

    /// The one with this role and name if it is there now.
    pub fn maybe_by_role(&self, role: &str, name: &str) -> Option<Element> {
        Found::new(None, role, Name::Is(name.to_owned())).all(&self.session).pop()
    }

    /// The accessible names of all with this role, in the order of the page, as they are now.
    pub fn names(&self, role: &str) -> Vec<String> {
        Found::new(None, role, Name::Any).names(&self.session)
    }

    /// Waits until there is none with this role and name.
    pub fn gone(&self, role: &str, name: &str) {
        self.session.wait(&format!("no {role} '{name}'"), PATIENCE, || {
            self.maybe_by_role(role, name).is_none().then_some(())
        });
    }

    /// Waits until there is something; else the test fails, and says what the page showed.
    pub fn wait<T>(&self, what: &str, seconds: u64, look: impl FnMut() -> Option<T>) -> T {
        self.session.wait(what, seconds, look)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() && !*self.session.reported.lock().expect("reported") {
            eprintln!("{}", self.session.report());
        }
        let _ = self.session.attempt("DELETE", "", None);
    }
}

fn stroke(kind: &str, key: char) -> Value {
    json!({ "type": kind, "value": key.to_string() })
}

/// WebDriver's code of a key.
fn key(name: &str) -> char {
    match name {
        "Backspace" => '\u{E003}',
        "Tab" => '\u{E004}',
        "Enter" => '\u{E007}',
        "Shift" => '\u{E008}',
        "Control" => '\u{E009}',
        "Alt" => '\u{E00A}',
        "Escape" => '\u{E00C}',
        "Space" => ' ',
        "PageUp" => '\u{E00E}',
        "PageDown" => '\u{E00F}',
        "End" => '\u{E010}',
        "Home" => '\u{E011}',
        "ArrowLeft" => '\u{E012}',
        "ArrowUp" => '\u{E013}',
        "ArrowRight" => '\u{E014}',
        "ArrowDown" => '\u{E015}',
        "Delete" => '\u{E017}',
        other => {
            let mut chars = other.chars();
            let first = chars.next().expect("a key");
            assert!(chars.next().is_none(), "no key is called {other}");
            first
        }
    }
}
