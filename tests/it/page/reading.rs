//! What a person hears and where the focus is, for those who use no mouse and no screen.

use serde_json::json;

use super::desk::{Desk, PT, company};

/// What the live region tells that is in force: the dialog's where one is open.
fn said(desk: &Desk) -> String {
    let script = "return document.querySelector('dialog [role=status]')?.textContent
        ?? [...document.querySelectorAll('.page > [role=status].unseen')].map((one) => one.textContent).join()";
    desk.browser.script(script, &[]).as_str().expect("a text").to_owned()
}

fn hears(desk: &Desk, text: &str) {
    desk.browser.wait(&format!("'{text}' is said"), 15, || said(desk).contains(text).then_some(()));
}

fn focus_on(desk: &Desk, role: &str, name: &str) {
    desk.browser.wait(&format!("the focus on {role} '{name}'"), 5, || {
        let focused = desk.browser.focused();
        (focused.role() == role && focused.name() == name).then_some(())
    });
}

fn share(desk: &Desk, secret: i64) {
    let body = json!({"secrets": {"ids": [secret]}, "recipients": [{"kind": "user", "id": 3}, {"kind": "user", "id": 2}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
}

#[test]
fn what_happens_is_said_also_within_a_dialog_and_old_notices_are_not() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    share(&desk, 1_001);
    desk.told(&PT, "2 acessos novos");
    desk.browser.reload();
    desk.told(&PT, "2 acessos novos");
    desk.tick("API 1002");
    let window = desk.open_share(&PT);
    window.by_role("searchbox", PT.search_people).type_text("bruno");
    hears(&desk, "1 resultado");
    window.by_role_containing("button", "Bruno Martins").click();
    hears(&desk, "Bruno Martins (bruno) foi escolhido.");
    window.by_role("button", "Remover Bruno Martins (bruno)").click();
    hears(&desk, "Bruno Martins (bruno) foi removido.");
    desk.browser.press("Escape");
    desk.browser.gone("dialog", "Compartilhar 1 segredo de API");
    assert!(!said(&desk).contains("2 acessos novos"), "old notices were read aloud");
    share(&desk, 1_002);
    hears(&desk, "Compartilhamento concluído. 2 acessos novos");
    desk.quiet(&[]);
}

#[test]
fn who_was_typed_and_not_chosen_is_not_left_out_without_a_word() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    desk.tick("API 1001");
    let window = desk.open_share(&PT);
    desk.choose(&window, &PT, "bruno", "Bruno Martins");
    let people = window.by_role("searchbox", PT.search_people);
    let red = || {
        let colour = "return getComputedStyle(arguments[0]).borderTopColor";
        let is_red = desk.browser.script(colour, &[people.argument()]) == "rgb(168, 36, 47)";
        assert_eq!(is_red, people.attribute("aria-invalid").is_some());
        is_red
    };
    assert!(!red());
    people.type_text("eva");
    window.by_role_containing("button", "Eva Lima");
    assert!(!red(), "there is somebody to choose");
    window.by_role("button", PT.share).click();
    desk.browser.see("Escolha um resultado ou apague o texto.");
    assert!(red() && people.is_focused());
    desk.empty(&people);
    assert!(!red());
    people.type_text("zzzz");
    desk.browser.see("Ninguém encontrado para “zzzz”.");
    assert!(red(), "an invalid recipient");
    desk.empty(&people);
    desk.send(&window, &PT);
    assert_eq!(desk.notice("ana")["counts"]["granted"], 1);
    desk.quiet(&[]);
}

#[test]
fn the_focus_is_never_lost() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    for secret in [1_001, 1_002] {
        share(&desk, secret);
    }
    browser.wait("two notices", 20, || (browser.all_by_role("article").len() == 2).then_some(()));
    // A view that is gone to begins at its heading.
    browser.by_role("link", "Meus compartilhamentos").click();
    focus_on(&desk, "heading", "Meus compartilhamentos");
    browser.by_role("link", PT.nav).click();
    focus_on(&desk, "heading", PT.nav);
    browser.by_role("button", "Grid Menu").click();
    browser.by_role("link", "MySafe").click();
    focus_on(&desk, "heading", PT.nav);
    // Of the two notices, one is dismissed; then the other.
    let cards = browser.by_role("region", PT.notices);
    cards.all_by_role("button").iter().find(|one| one.name() == "Dispensar aviso").expect("a button").click();
    browser.wait("one notice", 5, || (browser.all_by_role("article").len() == 1).then_some(()));
    focus_on(&desk, "button", "Dispensar aviso");
    browser.press("Enter");
    focus_on(&desk, "heading", PT.nav);
    // Editing gives it back, and survives the language.
    desk.at("secrets/1001");
    browser.by_role("button", "Editar").click();
    let name = browser.by_role("textbox", "Nome");
    name.type_text(" nova");
    let language = browser.by_role_containing("button", "EN");
    language.click();
    focus_on(&desk, "button", "PT: switch to Portuguese");
    assert_eq!(browser.by_role("textbox", "Name").property("value"), "API 1001 nova");
    browser.by_role_containing("button", "PT").click();
    browser.by_role("button", "Salvar").click();
    browser.by_role("heading", "API 1001 nova");
    focus_on(&desk, "button", "Editar");
    browser.wait("the title follows", 5, || browser.title().starts_with("API 1001 nova").then_some(()));
    browser.press("Enter");
    browser.by_role("button", "Cancelar").click();
    focus_on(&desk, "button", "Editar");
    // What takes something away is not what Enter does; the next row has the focus then.
    browser.by_role("button", "Retirar acesso de Bruno Martins (bruno)").click();
    focus_on(&desk, "button", "Não");
    browser.by_role("dialog", "Retirar acesso").by_role("button", PT.yes).click();
    browser.gone("button", "Retirar acesso de Bruno Martins (bruno)");
    focus_on(&desk, "button", "Retirar acesso de Eva Lima (eva)");
    hears(&desk, "O acesso direto de Bruno Martins (bruno) foi retirado.");
    desk.quiet(&[]);
}

#[test]
fn a_chosen_theme_stays_and_can_be_given_up() {
    let desk = Desk::with(Vec::new(), Some(&company(1)));
    let browser = &desk.browser;
    let ground = || browser.script("return getComputedStyle(document.body).backgroundColor", &[]);
    let light = ground();
    browser.by_role("button", "Tema: automático").click();
    browser.by_role("button", "Tema: claro").click();
    browser.by_role("button", "Tema: escuro");
    browser.reload();
    let theme = browser.by_role("button", "Tema: escuro");
    let dark = ground();
    assert_ne!(dark, light);
    theme.click();
    browser.by_role("button", "Tema: automático");
    assert_eq!(ground(), light);
    browser.theme("dark");
    assert_eq!(ground(), dark);
    desk.quiet(&[]);
}

#[test]
fn a_dialog_that_lost_its_selection_does_not_come_back() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    for secret in ["API 1001", "API 1002"] {
        desk.tick(secret);
    }
    browser.by_role("button", "Revisar seleção").click();
    let review = browser.by_role("dialog", "2 segredos selecionados");
    review.by_role("button", "Remover API 1001 da seleção").click();
    focus_on(&desk, "button", "Remover API 1002 da seleção");
    browser.press("Enter");
    browser.see_no_more("segredos selecionados");
    focus_on(&desk, "heading", PT.nav);
    desk.tick("API 1003");
    browser.see("1 segredo selecionado");
    assert!(browser.all_by_role("dialog").is_empty());
    desk.quiet(&[]);
}

#[test]
fn what_has_the_focus_is_not_below_the_bars() {
    let desk = Desk::with(Vec::new(), Some(&company(60)));
    let browser = &desk.browser;
    share(&desk, 1_001);
    desk.told(&PT, "2 acessos novos");
    for (width, height) in [(360, 640), (820, 700), (1_280, 700)] {
        browser.size(width, height);
        browser.reload();
        desk.tick("API 1001");
        browser.by_role("button", PT.share);
        let hidden = "
            const element = document.activeElement;
            const { left, top, width, height } = element.getBoundingClientRect();
            const there = document.elementFromPoint(left + width / 2, top + height / 2);
            return there && (element.contains(there) || there.contains(element)) ? null : element.outerHTML;";
        for key in ["Tab", "Shift+Tab"] {
            for _ in 0..70 {
                browser.press(key);
                let found = browser.script(hidden, &[]);
                assert!(found.is_null(), "{width} px, {key}: {found}");
            }
        }
    }
    desk.quiet(&[]);
}

/// Whether the browser keeps the page for its Back button or loads it anew.
#[test]
fn a_value_that_was_shown_is_gone_after_back() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let value = "tops3cret-value";
    let body = json!({"client_secret": value});
    desk.api("PATCH", "ana", "/secrets/1001", Some(&body));
    desk.at("secrets/1001");
    desk.browser.by_role("button", "Mostrar").click();
    desk.browser.see(value);
    // Frozen at once or not: what the page says it is left with has no value in it.
    let left = "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}));
        return document.body.textContent";
    let text = desk.browser.script(left, &[]);
    assert!(!text.as_str().expect("a text").contains(value), "it is there while the page is hidden");
    desk.browser.by_role("button", "Mostrar").click();
    desk.browser.see(value);
    desk.browser.goto("about:blank");
    // The script has ended when the page goes, so that the driver does not run it again in the page before.
    desk.browser.script("setTimeout(() => history.back())", &[]);
    desk.browser.by_role("button", "Mostrar");
    assert!(!desk.browser.text().contains(value));
    desk.quiet(&[]);
}
