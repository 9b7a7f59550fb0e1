//! The user's guide, step by step, in the page.

use std::time::{Duration, Instant};

use serde_json::json;

use super::desk::{Desk, EN, PT, SEARCH, Words};
use super::element::Element;

/// Steps 1 to 12 as the guide has them, with everything selected.
fn the_walk(desk: &Desk, words: &Words) {
    let browser = &desk.browser;
    // 1, 2: grid menu, MySafe, side menu.
    browser.by_role("button", "Grid Menu").click();
    browser.by_role("link", "MySafe").click();
    browser.by_role("link", words.nav).click();
    browser.by_role("heading", words.nav);
    // 2.1: the header's box ticks all of the list, not the page's fifty.
    assert!(browser.maybe_by_role("button", words.share).is_none(), "no share button without a selection");
    browser.by_role("checkbox", words.select_all).click();
    let count = if words.yes == "Sim" { "1.200 segredos selecionados" } else { "1,200 secrets selected" };
    browser.see(count);
    assert!(browser.by_role("checkbox", words.select_all).is_checked());
    let first = desk.api("GET", "ana", "/secrets?limit=1", None)["items"][0]["id"].take();
    // 5, 7: Share, Yes.
    let button = browser.by_role("button", words.share);
    let (at, window) = (button.rect(), (1_280.0, 800.0));
    assert!(at.x > window.0 / 2.0 && at.y > window.1 / 2.0, "at the bottom right: {at:?}");
    button.click();
    let question = if words.yes == "Sim" { "1.200 segredos de API?" } else { "1,200 API secrets?" };
    browser.see(question);
    browser.press("Escape");
    let share = desk.open_share(words);
    // 8, 9: one search over people and groups.
    desk.choose(&share, words, "bruno", "Bruno Martins");
    desk.choose(&share, words, "pagam", "Pagamentos");
    // 10: view is ticked and fixed; 10.1: edit is the person's choice.
    let bruno = share.by_role("group", "Bruno Martins (bruno)");
    let view = bruno.by_role("checkbox", words.can_view);
    assert!(view.is_checked() && !view.is_enabled());
    assert!(!bruno.by_role("checkbox", words.can_edit).is_checked());
    share.by_role("group", "Pagamentos").by_role("checkbox", words.can_edit).click();
    foreseen(&share, words);
    // 11: sent, and the person is free: the window is gone and the selection is empty.
    desk.send(&share, words);
    assert!(browser.maybe_by_role("button", words.share).is_none(), "the selection is empty");
    // 12: the confirmation notice, in words and numbers.
    let told = if words.yes == "Sim" { "2.400 acessos novos" } else { "2,400 new accesses" };
    desk.told(words, told);
    let title = if words.yes == "Sim" { "Compartilhamento concluído" } else { "Sharing completed" };
    desk.told(words, title);
    let notice = desk.notice("ana");
    assert_eq!(notice["counts"], json!({"granted": 2_400, "upgraded": 0, "unchanged": 0, "rejected": 0}));
    // What was ticked is what was granted: view where nothing was said.
    let grants = desk.api("GET", "ana", &format!("/secrets/{first}/grants"), None);
    let of = |name: &str| {
        grants["items"].as_array()?.iter().find(|grant| grant["name"] == name)?["permission"].as_str()
    };
    assert_eq!((of("Bruno Martins"), of("Pagamentos")), (Some("view"), Some("edit")));
}

/// The window says what the share would do, before it is sent. On a busy machine there may be no time to count; then the
/// window says nothing, and counts again when something changes.
fn foreseen(share: &Element, words: &Words) {
    let (begin, ends) = match words.yes {
        "Sim" => ("2.400 acessos: 2.400 novos; ", ["1 pessoa", " pessoas"]),
        _ => ("2,400 accesses: 2,400 new; ", ["1 person", " people"]),
    };
    for _ in 0..12 {
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            let text = share.text();
            if let Some(line) = text.lines().find(|line| line.starts_with(begin)) {
                assert!(ends.iter().any(|end| line.ends_with(end)), "{line}");
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let edit = || share.by_role("group", "Bruno Martins (bruno)").by_role("checkbox", words.can_edit);
        edit().click();
        edit().click();
    }
    panic!("the window does not say what the share would do: {}", share.text());
}

#[test]
fn the_guide_can_be_walked_word_for_word_in_portuguese() {
    let desk = Desk::demo();
    the_walk(&desk, &PT);
    // The result: bruno sees what was shared with him, with the permission that was given.
    desk.become_person("Bruno Martins");
    desk.browser.by_role("link", "Compartilhados comigo").click();
    desk.browser.by_role("heading", "Compartilhados comigo");
    desk.search("adyen-pagamentos-prod", "Adyen");
    desk.browser.by_role("link", "Adyen – pagamentos (produção)").click();
    // Through the group, which may edit.
    desk.browser.by_role("button", "Editar");
    desk.quiet(&[]);
}

/// RabbitMQ and PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_servers_the_guide_can_be_walked_word_for_word() {
    let mut site = crate::production::Site::start().await;
    tokio::task::block_in_place(|| {
        let desk = Desk::at_site(&mut site);
        the_walk(&desk, &PT);
        desk.become_person("Bruno Martins");
        desk.browser.by_role("link", "Compartilhados comigo").click();
        desk.browser.by_role("link", "API 1001").click();
        desk.browser.by_role("button", "Editar");
        desk.quiet(&[]);
    });
}

#[test]
fn the_guide_can_be_walked_in_english() {
    let desk = Desk::demo();
    desk.browser.by_role_containing("button", "EN").click();
    desk.browser.by_role("link", "API secrets");
    assert_eq!(desk.browser.script("return document.documentElement.lang", &[]), "en");
    the_walk(&desk, &EN);
    // The language is kept.
    desk.browser.reload();
    desk.browser.by_role("link", "API secrets");
    desk.quiet(&[]);
}

#[test]
fn all_that_match_now_are_selected_and_a_selection_survives_searching() {
    let desk = Desk::demo();
    let browser = &desk.browser;
    desk.search("stripe", "Stripe");
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("Todos os 19 segredos encontrados foram selecionados.");
    browser.see("19 segredos selecionados");
    // Another search: what was selected stays, and all of this one are not selected.
    desk.search("adyen", "Adyen");
    browser.see("19 segredos selecionados");
    assert!(!browser.by_role("checkbox", PT.select_all).is_checked());
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("37 segredos selecionados");
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("19 segredos selecionados");
    // The selection can be reviewed by name and made smaller.
    browser.by_role("button", "Revisar seleção").click();
    let review = browser.by_role("dialog", "19 segredos selecionados");
    browser.see("Stripe – assinaturas (produção)");
    let first =
        review.all_by_role("button").into_iter().map(|b| b.name()).find(|name| name.starts_with("Remover"));
    review.by_role("button", &first.expect("a button that removes")).click();
    browser.by_role("dialog", "18 segredos selecionados");
    browser.press("Escape");
    browser.gone("dialog", "18 segredos selecionados");
    browser.by_role("button", "Limpar seleção").click();
    browser.see_no_more("18 segredos selecionados");
    desk.quiet(&[]);
}

#[test]
fn select_all_says_what_cannot_be_shared_and_why() {
    let desk = Desk::with(Vec::new(), Some(&super::desk::company(120)));
    let disable = json!({"disabled": true});
    for id in [1_003, 1_004] {
        desk.api("PATCH", "ana", &format!("/secrets/{id}"), Some(&disable));
    }
    let body = json!({"secrets": {"ids": (1_011..=1_015).collect::<Vec<_>>()}, "recipients": [{"kind": "user", "id": 2}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.notice("ana");
    desk.browser.reload();
    desk.browser.by_role("checkbox", PT.select_all).click();
    desk.browser.see("118 de 120 segredos encontrados foram selecionados.");
    desk.browser.see("2 ficam de fora: estão desativados.");
    desk.browser.see("118 segredos selecionados");
    desk.browser.by_role("combobox", "Compartilhado").choose("Sim");
    desk.browser.wait("those that are shared", 10, || {
        let names = desk.browser.names("link");
        let names: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("API ")).collect();
        (names == ["1011", "1012", "1013", "1014", "1015"]).then_some(())
    });
    // Who may only view cannot select them.
    desk.become_person("Bruno Martins");
    // The list is drawn anew meanwhile, so an element that was found may be gone: one look does both.
    let disabled = "return document.querySelector('[aria-label=\"Selecionar API 1011\"]')?.disabled === true";
    desk.browser.wait("a list in which nothing can be selected", 10, || {
        desk.browser.script(disabled, &[]).as_bool().filter(|disabled| *disabled)
    });
    desk.browser.by_role("checkbox", PT.select_all).click();
    desk.browser.see("Nenhum pode ser compartilhado.");
    desk.browser.see("5 ficam de fora: você só pode visualizá-los.");
    assert!(desk.browser.maybe_by_role("button", PT.share).is_none());
    desk.quiet(&[]);
}

#[test]
fn the_list_is_filtered_sorted_and_paged() {
    let desk = Desk::demo();
    let browser = &desk.browser;
    browser.by_role("combobox", "Tag").choose("financeiro");
    browser.wait("only the tag's", 10, || {
        browser.names("link").iter().any(|name| name.starts_with("Adyen – antifraude")).then_some(())
    });
    // A second click that comes before the answer goes no further; and the focus stays where it was.
    let next = browser.by_role("button", "Próxima página");
    next.click();
    browser.script("arguments[0].click()", &[next.argument()]);
    browser.see("Página 2");
    assert!(next.is_focused());
    browser.by_role("button", "Página anterior").click();
    browser.see("Página 1");
    browser.by_role("button", "Nome").click();
    browser.wait("names from the end", 10, || {
        browser.names("link").iter().find(|name| name.contains('–'))?.starts_with("Stripe").then_some(())
    });
    browser.by_role("combobox", "Compartilhado").choose("Sim");
    browser.see("Nenhum segredo de API corresponde à busca.");
    browser.by_role("button", "Limpar busca e filtros").click();
    browser.by_role("checkbox", PT.select_all);
    let search = browser.by_role("searchbox", SEARCH);
    search.type_text("%_nothing");
    browser.see("Nenhum segredo de API corresponde à busca.");
    desk.empty(&search);
    browser.by_role("checkbox", PT.select_all);
    assert!(search.is_focused(), "the search stays while the list is empty");
    desk.quiet(&[]);
}

#[test]
fn one_search_finds_by_each_of_the_five_and_says_who_cannot_be_chosen() {
    let desk = Desk::demo();
    desk.search("stripe", "Stripe");
    desk.browser.by_role("checkbox", PT.select_all).click();
    let share = desk.open_share(&PT);
    let people = share.by_role("searchbox", PT.search_people);
    assert!(people.is_focused(), "the search is ready to type");
    // Name, user name, e-mail, user group, personal group.
    for (search, found, kind) in [
        ("Bruno Mart", "Bruno Martins", "Usuário"),
        ("bruno", "Bruno Martins", "Usuário"),
        ("bruno.martins@empresa", "Bruno Martins", "Usuário"),
        ("pagament", "Pagamentos", "Grupo de usuários"),
        ("plantão", "Plantão", "Grupo pessoal"),
    ] {
        desk.empty(&people);
        people.type_text(search);
        let result = share.by_role_containing("button", found);
        assert!(result.text().contains(kind), "{search}: {}", result.text());
    }
    for (search, name, why) in [
        ("carla.dias", "Carla Dias", "sem conta no MySafe"),
        ("davi.carvalho", "Davi Carvalho", "está inativo"),
        ("Ana Souza", "Ana Souza", "você já tem acesso"),
    ] {
        desk.empty(&people);
        people.type_text(search);
        let result = share.by_role_containing("button", name);
        assert!(result.text().contains(why), "{}", result.text());
        result.click();
        assert!(share.maybe_by_role("group", name).is_none(), "{name} cannot be chosen");
    }
    desk.empty(&people);
    people.type_text("zzzz");
    desk.browser.see("Ninguém encontrado para “zzzz”.");
    desk.empty(&people);
    // Nobody chosen: nothing is sent, and it says why.
    share.by_role("button", PT.share).click();
    desk.browser.see("Escolha pelo menos um usuário ou grupo.");
    assert!(people.is_focused());
    // A chosen one can be removed.
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    share.by_role("button", "Remover Bruno Martins (bruno)").click();
    desk.browser.wait("bruno is gone", 5, || {
        share.maybe_by_role("group", "Bruno Martins (bruno)").is_none().then_some(())
    });
    desk.quiet(&[]);
}

#[test]
fn a_user_name_finds_its_person_where_neither_name_nor_address_has_it() {
    let mut lines = super::desk::company(1);
    let zeca = json!({"type": "user", "id": 9, "username": "op-773", "name": "José Carlos", "email": "zeca@empresa.example"});
    lines.push_str(&zeca.to_string());
    let desk = Desk::with(Vec::new(), Some(&lines));
    desk.tick("API 1001");
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "op-773", "José Carlos");
    desk.quiet(&[]);
}

#[test]
fn the_guide_can_be_walked_with_the_keyboard_alone() {
    let desk = Desk::demo();
    let browser = &desk.browser;
    browser.by_role("checkbox", PT.select_all);
    let tab_to = |role: &str, name: &str| desk.tab_to(role, name);
    tab_to("searchbox", SEARCH);
    browser.keys("stripe");
    browser.by_role("link", "Stripe – antifraude (produção)");
    tab_to("checkbox", PT.select_all);
    browser.press("Space");
    browser.see("19 segredos selecionados");
    tab_to("button", PT.share);
    browser.press("Enter");
    browser.by_role_containing("dialog", "Compartilhar segredos");
    // The focus stays in the dialog.
    for _ in 0..6 {
        browser.press("Tab");
        let inside =
            "return document.activeElement === document.body || !!document.activeElement.closest('dialog')";
        assert_eq!(browser.script(inside, &[]), true);
    }
    browser.press("Escape");
    browser.wait("the focus is given back", 5, || (browser.focused().name() == PT.share).then_some(()));
    browser.press("Enter");
    browser.by_role_containing("dialog", "Compartilhar segredos");
    tab_to("button", PT.yes);
    browser.press("Enter");
    let share = browser.by_role_containing("dialog", "Compartilhar 19 segredos");
    browser.wait("the search has the focus", 5, || (browser.focused().role() == "searchbox").then_some(()));
    browser.keys("bruno");
    share.by_role_containing("button", "Bruno Martins");
    browser.press("ArrowDown");
    browser.press("Enter");
    share.by_role("group", "Bruno Martins (bruno)");
    tab_to("checkbox", PT.can_edit);
    browser.press("Space");
    tab_to("button", PT.share);
    browser.press("Enter");
    desk.told(&PT, "19 acessos novos");
    assert_eq!(browser.focused().role(), "heading", "the focus is somewhere");
    tab_to("button", "Dispensar aviso");
    browser.press("Enter");
    desk.told(&PT, "Nenhum aviso.");
    let first = &desk.api("GET", "bruno", "/secrets?owner=others&limit=1", None)["items"][0];
    assert_eq!(first["permission"], "edit");
    desk.quiet(&[]);
}
