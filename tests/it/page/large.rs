//! Ten thousand secrets: the page stays quick.

use serde_json::json;

use super::desk::{Desk, PT, SEARCH, company};

/// Types a text into the search, and says after how many milliseconds the list begins with `first`.
const TYPE: &str = "
    const [search, text, first, done] = arguments;
    const began = performance.now();
    const look = () => {
        if (document.querySelector('td.name a')?.textContent !== first) return;
        observer.disconnect();
        done(performance.now() - began);
    };
    const observer = new MutationObserver(look);
    observer.observe(document.body, { subtree: true, childList: true, characterData: true });
    search.value = text;
    search.dispatchEvent(new InputEvent('input', { bubbles: true }));
    look();
";

/// Presses a button, and says after how many milliseconds no dialog is open and a frame was drawn.
const PRESS: &str = "
    const [button, done] = arguments;
    const began = performance.now();
    button.click();
    const look = () => document.querySelector('dialog[open]')
        ? requestAnimationFrame(look)
        : requestAnimationFrame(() => done(performance.now() - began));
    look();
";

/// The milliseconds after which the page is free again when a share of all secrets was sent.
const FREE: f64 = 200.0;

/// The median of some tries.
fn median(tries: impl FnMut(i64) -> f64) -> f64 {
    let mut all: Vec<f64> = (0..7).map(tries).collect();
    all.sort_by(f64::total_cmp);
    all[3]
}

/// The least median of a few rounds, which end as soon as one is below `bound`: how quick the page is when the machine
/// lets it. Other tests use up the processors meanwhile, in some rounds more and in some less.
fn quickest(bound: f64, mut tries: impl FnMut(i64) -> f64) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..6 {
        least = least.min(median(&mut tries));
        if least < bound {
            break;
        }
    }
    least
}

#[test]
fn with_ten_thousand_secrets_the_list_answers_at_once_and_sharing_all_gives_the_page_back() {
    let desk = Desk::with(Vec::new(), Some(&company(10_000)));
    let browser = &desk.browser;
    browser.by_role("checkbox", PT.select_all);
    let search = browser.by_role("searchbox", SEARCH);
    let typed = quickest(100.0, |n| {
        let (text, first) = (format!("api {}", 5_000 + n * 7), format!("API {}", 5_000 + n * 7));
        let ms = browser.script_async(TYPE, &[search.argument(), json!(text), json!(first)]);
        ms.as_f64().expect("milliseconds")
    });
    println!("10,000 secrets: the list answered {typed:.0} ms after typing");
    assert!(typed < 100.0, "{typed} ms");
    desk.empty(&search);
    browser.by_role("link", "API 1001");
    // Sharing the same again changes nothing, so it can be tried until the machine lets the page be as quick as it is.
    let mut free = f64::MAX;
    for round in 0..8 {
        browser.by_role("checkbox", PT.select_all).click();
        browser.see("Todos os 10.000 segredos encontrados foram selecionados.");
        let share = desk.open_share(&PT);
        desk.choose(&share, &PT, "bruno", "Bruno Martins");
        let button = share.by_role("button", PT.share);
        let ms = browser.script_async(PRESS, &[button.argument()]).as_f64().expect("milliseconds");
        println!("10,000 secrets: free {ms:.0} ms after sending");
        free = free.min(ms);
        desk.told(&PT, if round == 0 { "10.000 acessos novos" } else { "10.000 acessos já existiam" });
        if free < FREE {
            break;
        }
    }
    assert!(free < FREE, "{free} ms");
    // What is drawn first is drawn soon, also for whoever comes for the first time.
    let painted = quickest(300.0, |_| {
        browser.cdp("Network.clearBrowserCache", &json!({}));
        browser.reload();
        browser.by_role("checkbox", PT.select_all);
        let paint = "return performance.getEntriesByName('first-contentful-paint')[0].startTime";
        browser.script(paint, &[]).as_f64().expect("milliseconds")
    });
    println!("first paint after {painted:.0} ms");
    assert!(painted < 300.0, "{painted} ms");
    desk.quiet(&[]);
}
