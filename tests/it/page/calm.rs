//! A calm page: nothing jumps, nothing moves for who wants no motion, and no mouse is needed.

use serde_json::json;

use super::desk::{Desk, PT, company};

/// How many elements take time to change, or are animated.
const MOVING: &str = "return [...document.querySelectorAll('*')].map((one) => getComputedStyle(one)).filter(
    (style) => style.transitionDuration.split(', ').some((time) => parseFloat(time) > 0)
        || style.animationName !== 'none').length";

/// What moved without a person's doing, summed up as browsers do.
const WATCH_SHIFTS: &str = "window.shifts = 0; new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({ type: 'layout-shift', buffered: false })";

#[test]
fn nothing_jumps_and_nothing_moves_for_who_wants_no_motion() {
    let desk = Desk::with(Vec::new(), Some(&company(60)));
    let browser = &desk.browser;
    let all = browser.by_role("checkbox", PT.select_all);
    assert!(browser.script(MOVING, &[]).as_u64() > Some(0), "with motion, buttons fade");
    browser.reduced_motion(true);
    assert_eq!(browser.script(MOVING, &[]), 0);

    // The words about the selection and its bar have their place before they come.
    let place = |of: &super::element::Element| (of.rect().x, of.rect().y);
    let before = (place(&all), place(&browser.by_role("link", "API 1001")));
    all.click();
    browser.see("60 segredos selecionados");
    assert_eq!((place(&all), place(&browser.by_role("link", "API 1001"))), before);
    // A notice that comes by itself moves nothing that a person reads.
    browser.script(WATCH_SHIFTS, &[]);
    let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user", "id": 2}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.told(&PT, "1 acesso novo");
    assert_eq!(place(&all), before.0);
    let shifts = browser.script("return window.shifts", &[]).as_f64().expect("a number");
    assert!(shifts < 0.01, "the page moved by {shifts}");
    desk.quiet(&[]);
}

#[test]
fn the_share_window_stands_still_and_so_does_a_value_that_is_shown() {
    let desk = Desk::with(Vec::new(), Some(&company(3)));
    let browser = &desk.browser;
    let secret = json!({"client_secret": "sk_live_um_valor_comprido_0123456789abcdef"});
    desk.api("PATCH", "ana", "/secrets/1001", Some(&secret));
    let body = json!({"secrets": {"ids": [1_002]}, "recipients": [{"kind": "user", "id": 2}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.told(&PT, "1 acesso novo");
    let place = |of: &super::element::Element| (of.rect().x, of.rect().y, of.rect().height);
    for (width, height) in [(360, 740), (820, 1_100), (1_280, 800)] {
        browser.size(width, height);
        desk.at("secrets");
        desk.tick("API 1001");
        let (bar, notices) = (browser.by_role("region", "Seleção"), browser.by_role("region", PT.notices));
        let (top, above) = (bar.rect().y, notices.rect());
        assert!(width > 900 || above.y + above.height <= top, "{width} px: {above:?} over {top}");
        let share = desk.open_share(&PT);
        let chosen = share.by_role("heading", "Escolhidos");
        let before = (place(&share), place(&chosen));
        let people = share.by_role("searchbox", PT.search_people);
        people.type_text("zzzz");
        browser.see("Ninguém encontrado para “zzzz”.");
        assert_eq!((place(&share), place(&chosen)), before, "{width} px, nobody found");
        desk.empty(&people);
        people.type_text("empresa");
        share.by_role_containing("button", "Eva Lima");
        assert_eq!(place(&share), before.0, "{width} px, results");
        desk.choose(&share, &PT, "bruno", "Bruno Martins");
        assert_eq!((place(&share), place(&chosen)), before, "{width} px, somebody chosen");
        browser.press("Escape");
        browser.by_role("button", "Limpar seleção").click();
        desk.at("secrets/1001");
        let access = browser.by_role("heading", "Quem tem acesso");
        let show = browser.by_role("button", "Mostrar");
        let before = (place(&show), place(&access));
        show.click();
        let hide = browser.by_role("button", "Ocultar");
        assert_eq!((place(&hide), place(&access)), before, "{width} px, shown");
    }
    desk.quiet(&[]);
}

#[test]
fn menus_editing_and_taking_back_need_no_mouse() {
    let desk = Desk::with(Vec::new(), Some(&company(3)));
    let browser = &desk.browser;
    let body = json!({"secrets": {"ids": [1_002]}, "recipients": [{"kind": "user", "id": 2}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.told(&PT, "1 acesso novo");
    desk.at("jobs");
    browser.by_role("heading", "Meus compartilhamentos");
    let go = |role: &str, name: &str| {
        desk.tab_to(role, name);
        browser.press("Enter");
    };
    go("button", "Grid Menu");
    go("link", "MySafe");
    browser.by_role("heading", PT.nav);
    go("link", "API 1002");
    browser.by_role("heading", "API 1002");
    go("button", "Editar");
    desk.tab_to("textbox", "Nome");
    browser.press("End");
    browser.keys(" nova");
    go("button", "Salvar");
    browser.by_role("heading", "API 1002 nova");
    go("button", "Retirar acesso de Bruno Martins (bruno)");
    browser.wait("the safe answer has the focus", 5, || (browser.focused().name() == "Não").then_some(()));
    go("button", PT.yes);
    browser.see("Só o proprietário tem acesso.");
    assert_eq!(desk.api("GET", "bruno", "/secrets?owner=others", None)["items"], json!([]));
    desk.quiet(&[]);
}
