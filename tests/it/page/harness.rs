//! The harness itself, on a small page that has what it must find, and some things wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::browser::Browser;
use super::driver::Driver;
use super::failure::screenshots;
use crate::process::until;

const HTML: &str = r#"<!doctype html>
<html lang="en"><head><title>A small page</title><link rel="icon" href="data:,"></head>
<body>
<main>
<h1>Secrets</h1>
<p id="wide">wide</p>
<button id="say">Say hello</button>
<button hidden>Hidden</button>
<p role="status" id="live"></p>
<label><input type="checkbox" id="agree"> I agree</label>
<label for="name">Name</label> <input id="name">
<label for="kind">Kind</label> <select id="kind"><option>token</option><option>password</option></select>
<button id="late" disabled>Late</button>
<button id="redraw">Redraw</button>
<table><caption>All</caption><tbody id="rows"></tbody></table>
<button id="open">Delete…</button>
<dialog id="dialog" aria-label="Really?"><button id="yes">Yes, delete</button></dialog>
<img src="/pixel.svg" width="9" height="9">
</main>
<script src="/page.js"></script>
</body></html>"#;

const JS: &str = r#"
const at = (id) => document.getElementById(id);
const draw = () => at("rows").replaceChildren(...Array.from({ length: 50 }, (_, index) => {
    const row = document.createElement("tr");
    row.setAttribute("aria-label", `Row ${index}`);
    row.innerHTML = `<td><label><input type="checkbox"> Secret ${index}</label></td><td><button>Open</button></td>`;
    return row;
}));
draw();
at("say").onclick = () => setTimeout(() => { at("live").textContent = "Hello"; }, 100);
at("redraw").onclick = draw;
at("open").onclick = () => at("dialog").showModal();
at("yes").onclick = () => at("dialog").close();
setTimeout(() => { at("late").disabled = false; }, 300);
at("late").onclick = () => { at("live").textContent = "Better late"; };
console.info("only said");
console.warn("mind the gap");
"#;

/// A server of the page; it ends with the test process.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned));
                for _ in lines.take_while(|line| !line.is_empty()) {}
                let (status, kind, body) = match path.as_deref() {
                    Some("/") => ("200 OK", "text/html", HTML),
                    Some("/page.js") => ("200 OK", "text/javascript", JS),
                    Some("/pixel.svg") => {
                        ("200 OK", "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>")
                    }
                    _ => ("404 Not Found", "text/plain", ""),
                };
                let length = body.len();
                let policy =
                    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'";
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
                     Content-Security-Policy: {policy}\r\nConnection: close\r\n\r\n{body}"
                );
            });
        }
    });
    format!("http://{address}/")
}

fn open() -> Browser {
    let browser = Browser::start();
    browser.goto(&serve());
    browser
}

#[test]
fn a_person_is_found_by_role_and_name() {
    let browser = open();
    assert_eq!(browser.title(), "A small page");
    assert_eq!(browser.names("heading"), ["Secrets"]);
    assert_eq!(browser.all_by_role("img").len(), 1);
    assert!(browser.maybe_by_role("button", "Hidden").is_none());
    assert!(browser.maybe_by_role("button", "Say").is_none(), "a name is the whole name");

    browser.by_role("button", "Say hello").click();
    browser.see("Hello");
    assert_eq!(browser.by_role("status", "").text(), "Hello");
    browser.by_role("button", "Late").click();
    browser.see("Better late");
    browser.see_no_more("Hello");

    let agree = browser.by_role("checkbox", "I agree");
    assert!(!agree.is_checked() && agree.is_enabled());
    agree.click();
    assert!(agree.is_checked());
    assert_eq!((agree.role(), agree.name()), ("checkbox".to_owned(), "I agree".to_owned()));

    let name = browser.by_role("textbox", "Name");
    name.type_text("Ana");
    assert_eq!(name.property("value"), "Ana");
    name.clear();
    assert_eq!(name.property("value"), "");
    assert_eq!(name.attribute("id").as_deref(), Some("name"));
    assert_eq!(name.attribute("placeholder"), None);
    assert_eq!(browser.script("return arguments[0].id", &[name.argument()]), "name");
    let kind = browser.by_role("combobox", "Kind");
    kind.choose("password");
    assert_eq!(kind.property("value"), "password");

    let row = browser.by_role("row", "Row 33");
    row.by_role("checkbox", "Secret 33").click();
    assert!(browser.by_role_containing("checkbox", "ret 33").is_checked());
    assert_eq!(row.all_by_role("checkbox").len(), 1);
    assert!(row.maybe_by_role("checkbox", "Secret 34").is_none());
    assert_eq!(browser.all_by_role("row").len(), 50);
}

#[test]
fn what_is_drawn_anew_is_found_again() {
    let browser = open();
    let row = browser.by_role("row", "Row 7");
    let secret = row.by_role("checkbox", "Secret 7");
    secret.click();
    assert!(secret.is_checked());
    browser.by_role("button", "Redraw").click();
    assert!(!secret.is_checked());
    browser.reload();
    secret.click();
    assert!(row.by_role_containing("checkbox", "Secret").is_checked());
}

#[test]
fn what_lies_behind_a_dialog_is_not_found() {
    let browser = open();
    browser.by_role("button", "Delete…").click();
    let dialog = browser.by_role("dialog", "Really?");
    assert!(browser.maybe_by_role("button", "Say hello").is_none());
    dialog.by_role("button", "Yes, delete").click();
    browser.gone("dialog", "Really?");
    browser.by_role("button", "Say hello");
}

#[test]
fn keys_go_where_the_focus_is() {
    let browser = open();
    browser.press("Tab");
    assert!(browser.by_role("button", "Say hello").is_focused());
    browser.press("Tab");
    browser.press("Space");
    assert!(browser.by_role("checkbox", "I agree").is_checked());
    browser.press("Tab");
    browser.keys("Olá, Zoë");
    assert_eq!(browser.focused().property("value"), "Olá, Zoë");
    browser.press("Control+a");
    browser.press("Delete");
    assert_eq!(browser.focused().property("value"), "");
    browser.press("Shift+Tab");
    assert_eq!(browser.focused().name(), "I agree");
    browser.press("Shift+Tab");
    browser.press("Enter");
    browser.see("Hello");
    browser.by_role("button", "Delete…").click();
    browser.by_role("dialog", "Really?");
    browser.press("Escape");
    browser.gone("dialog", "Really?");
}

#[test]
fn axe_finds_what_is_wrong() {
    let browser = open();
    let found = browser.axe();
    assert_eq!(found, ["image-alt (critical) img: Images must have alternative text"]);
    browser.script("document.querySelector('img').alt = 'A pixel'; document.documentElement.lang = ''", &[]);
    let found = browser.axe();
    assert!(found.len() == 1 && found[0].starts_with("html-has-lang"), "{found:?}");
    assert_eq!(browser.axe_of_colours(), [""; 0]);
    browser.script("document.getElementById('wide').style.color = '#eee'", &[]);
    let found = browser.axe_of_colours();
    assert!(found.len() == 1 && found[0].starts_with("color-contrast"), "{found:?}");
}

#[test]
fn the_console_is_read() {
    let browser = open();
    let lines = browser.console();
    assert!(lines.len() == 1 && lines[0].contains("mind the gap"), "{lines:?}");
    assert!(browser.console().is_empty(), "each line is read once");
    browser.script("return fetch('/none').then(() => 1)", &[]);
    browser.script("document.body.append(Object.assign(document.createElement('style')));", &[]);
    let lines = browser.console();
    assert!(lines.iter().any(|line| line.starts_with("SEVERE") && line.contains("404")), "{lines:?}");
}

#[test]
fn a_narrow_window_is_narrow() {
    let browser = open();
    let widths = "return [innerWidth, innerHeight, document.documentElement.clientWidth, devicePixelRatio]";
    assert_eq!(browser.script(widths, &[]), json!([1280, 800, 1280, 1]));
    browser.size(360, 640);
    assert_eq!(browser.script(widths, &[]), json!([360, 640, 360, 1]));
    browser.reload();
    assert_eq!(browser.script(widths, &[]), json!([360, 640, 360, 1]));
    let heading = browser.by_role("heading", "Secrets").rect();
    assert!(heading.x >= 0.0 && heading.x + heading.width <= 360.0, "{heading:?}");
    assert!(heading.y < 640.0 && heading.height > 0.0, "{heading:?}");

    let folder = screenshots().join("harness");
    let (window, full) = (folder.join("window.png"), folder.join("full.png"));
    browser.screenshot(&window);
    browser.screenshot_full(&full);
    assert_eq!(png_size(&window), (360, 640));
    let (width, height) = png_size(&full);
    assert!(width == 360 && height > 1_000, "{width} {height}");
}

/// Width and height from a PNG's header.
fn png_size(path: &Path) -> (u32, u32) {
    let bytes = std::fs::read(path).expect("a picture");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn what_a_person_prefers_reaches_the_page_in_every_tab() {
    let browser = Browser::speaking("pt-BR");
    browser.goto(&serve());
    let media = "return ['(prefers-color-scheme: dark)', '(prefers-reduced-motion: reduce)']
        .map((query) => matchMedia(query).matches).concat(navigator.language)";
    assert_eq!(browser.script(media, &[]), json!([false, false, "pt-BR"]));
    browser.theme("dark");
    browser.reduced_motion(true);
    assert_eq!(browser.script(media, &[]), json!([true, true, "pt-BR"]));
    let (first, url) = (browser.tab(), browser.url());
    let second = browser.new_tab();
    browser.goto(&url);
    assert_eq!(browser.script(media, &[]), json!([true, true, "pt-BR"]));
    browser.by_role("button", "Say hello").click();
    browser.see("Hello");
    browser.switch(&first);
    assert!(!browser.text().contains("Hello"));
    browser.switch(&second);
    browser.close_tab();
    assert_eq!(browser.tab(), first);
}

#[test]
fn the_network_can_be_cut_off() {
    let browser = open();
    let fetch = "const done = arguments[arguments.length - 1];
        fetch('/').then((answer) => done(answer.status), () => done('cut off'));";
    assert_eq!(browser.script_async(fetch, &[]), 200);
    browser.offline(true);
    assert_eq!(browser.script("return navigator.onLine", &[]), false);
    assert_eq!(browser.script_async(fetch, &[]), "cut off");
    browser.offline(false);
    assert_eq!(browser.script_async(fetch, &[]), 200);
}

#[test]
#[should_panic(expected = "--- visible text\nSecrets")]
fn a_failure_shows_what_was_to_be_seen() {
    let browser = open();
    browser.wait("something that never comes", 1, || None)
}

#[test]
fn no_process_outlives_the_tests() {
    let driver = Driver::start();
    let folder = driver.folder.clone();
    let browser = Browser::on(&driver, "en-US");
    browser.goto(&serve());
    assert!(processes_of(&folder) > 4, "a shell, chromedriver, and some of Chromium");
    std::mem::forget(browser); // as when the test process is killed
    driver.end();
    until("all have ended", 20, || (processes_of(&folder) == 0).then_some(()));
    assert!(!folder.exists());
}

/// How many processes name a folder in their arguments or settings.
fn processes_of(folder: &Path) -> usize {
    let name = folder.to_str().expect("UTF-8").as_bytes();
    let names = |path: PathBuf| {
        let text = std::fs::read(path).unwrap_or_default(); // a process may end meanwhile
        text.windows(name.len()).any(|window| window == name)
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter(|entry| names(entry.path().join("cmdline")) || names(entry.path().join("environ")))
        .count()
}
