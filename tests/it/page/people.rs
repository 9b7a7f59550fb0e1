//! Who is signed in: nothing of one person reaches another, whatever tabs and answers do.

use serde_json::{Value, json};

use super::desk::{Desk, PT, company};

/// What another tab does that chooses bruno.
const ELSEWHERE: &str = "
    const done = arguments[0];
    const body = JSON.stringify({ username: 'bruno' });
    fetch('/api/v1/demo/me', { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body })
        .then(() => new BroadcastChannel('batchshare.person').postMessage(null))
        .then(done);
";

/// Holds the answer to the next request whose method and path have this text, but for previews, until `release()`; `released`
/// says that the page has it.
const HOLD: &str = "
    const [held_text] = arguments;
    const truly = window.fetch;
    window.fetch = (path, options) => {
        const answer = truly(path, options);
        if (path.endsWith('/preview') || !`${options?.method ?? 'GET'} ${path}`.includes(held_text)) return answer;
        window.fetch = truly;
        const held = new Promise((go) => { window.release = go; });
        const late = held.then(() => answer);
        late.then(() => setTimeout(() => { window.released = true; }, 50));
        return late;
    };
";

fn person(desk: &Desk) -> Value {
    desk.browser.by_role("combobox", "Pessoa (demonstração)").property("value")
}

/// Somebody chooses bruno in another tab; only then the answer that is held reaches the page.
fn bruno_before_the_answer(desk: &Desk) {
    let browser = &desk.browser;
    browser.script_async(ELSEWHERE, &[]);
    browser.wait("bruno", 10, || (person(desk) == "bruno").then_some(()));
    browser.script("release()", &[]);
    browser.wait("the late answer", 10, || {
        (browser.script("return !!window.released", &[]) == true).then_some(())
    });
}

#[test]
fn who_is_chosen_in_one_tab_is_chosen_in_all_and_takes_nothing_over() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    desk.tick("API 1001");
    browser.see("1 segredo selecionado");
    let first = browser.tab();
    browser.new_tab();
    desk.at("secrets");
    desk.become_person("Bruno Martins");
    browser.see("Você ainda não tem segredos de API.");
    browser.switch(&first);
    browser.wait("bruno in the first tab, too", 10, || (person(&desk) == "bruno").then_some(()));
    browser.see("Você ainda não tem segredos de API.");
    assert!(browser.maybe_by_role("button", PT.share).is_none(), "ana's selection is not bruno's");
    desk.quiet(&[]);
}

#[test]
fn an_answer_that_was_asked_for_by_one_person_is_not_shown_to_another() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    desk.tick("API 1001");
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "eva", "Eva Lima");
    browser.script(HOLD, &[json!("POST ")]);
    desk.send(&share, &PT);
    desk.told(&PT, "Enviando");
    assert!(
        !browser.by_role("combobox", "Pessoa (demonstração)").is_enabled(),
        "whoever left now would not hear what became of it"
    );
    bruno_before_the_answer(&desk);
    desk.told(&PT, "Nenhum aviso.");
    // It was ana's share, and she hears of it.
    assert_eq!(desk.notice("ana")["counts"]["granted"], 1);
    desk.become_person("Ana Souza");
    desk.told(&PT, "1 acesso novo");
    desk.quiet(&[]);
}

#[test]
fn all_that_one_person_selected_late_is_not_selected_for_another() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    browser.by_role("link", "API 1001");
    browser.script(HOLD, &[json!("/secrets/ids")]);
    browser.by_role("checkbox", PT.select_all).click();
    bruno_before_the_answer(&desk);
    browser.see("Você ainda não tem segredos de API.");
    assert!(browser.maybe_by_role("button", PT.share).is_none(), "ana's selection is not bruno's");
    desk.become_person("Ana Souza");
    browser.by_role("link", "API 1001");
    assert!(browser.maybe_by_role("button", PT.share).is_none(), "nor does it wait for her");
    desk.quiet(&[]);
}

#[test]
fn where_the_usual_person_is_not_there_another_can_be_chosen() {
    let lines = company(0)
        .lines()
        .filter(|line| !line.contains("\"ana\""))
        .fold(String::new(), |all, line| all + line + "\n");
    let desk = Desk::with(Vec::new(), Some(&lines));
    desk.browser.by_role("heading", "Você não está conectado");
    desk.become_person("Bruno Martins");
    desk.browser.see("Você ainda não tem segredos de API.");
    desk.quiet(&["401"]);
}

#[test]
fn who_may_not_sign_in_any_more_is_told_when_they_look_again() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    browser.by_role("link", "API 1001");
    desk.sql("UPDATE principals SET active = false WHERE id = 1");
    browser.script("dispatchEvent(new Event('focus'))", &[]);
    browser.by_role("heading", "Você não está conectado");
    browser.see("está inativa ou sem conta no MySafe");
    browser.see("Escolha outra pessoa no alto da página.");
    assert!(browser.maybe_by_role("button", "Tentar novamente").is_none(), "they would be refused again");
    assert!(!browser.text().contains("API 1001"), "nothing of theirs stays");
    desk.sql("UPDATE principals SET active = true WHERE id = 1");
    browser.script("dispatchEvent(new Event('focus'))", &[]);
    browser.by_role("link", "API 1001");
    desk.quiet(&["403"]);
}

#[test]
fn a_name_that_one_may_not_see_is_told_by_kind_and_number() {
    let mut lines = company(1);
    lines.push_str(
        &json!({"type": "personal_group", "id": 31, "name": "Plantão", "owner": 1, "members": []})
            .to_string(),
    );
    let desk = Desk::with(Vec::new(), Some(&lines));
    for (kind, id) in [("personal_group", 31), ("user", 2)] {
        let recipients = json!([{"kind": kind, "id": id, "permission": "edit"}]);
        let body = json!({"secrets": {"ids": [1_001]}, "recipients": recipients});
        desk.api("POST", "ana", "/share-jobs", Some(&body));
    }
    desk.browser.wait("both", 20, || {
        let grants = desk.api("GET", "ana", "/secrets/1001/grants", None);
        (grants["items"].as_array()?.len() == 2).then_some(())
    });
    desk.become_person("Bruno Martins");
    desk.at("secrets/1001");
    desk.browser.by_role("button", "Retirar acesso de Grupo pessoal nº 31").click();
    desk.browser.by_role("dialog", "Retirar acesso");
    desk.browser.see("Retirar o acesso de Grupo pessoal nº 31 a este segredo?");
    assert!(!desk.browser.text().contains("Plantão") && !desk.browser.text().contains('{'));
    desk.quiet(&[]);
}
