//! Names are what they seem, and two of one name are told apart.

use super::desk::{Desk, PT, company};

/// Two of one name, beside bruno and eva.
const NAMESAKES: &str = r#"{"type":"user","id":11,"username":"joao.silva","name":"João Silva","email":"joao@a.example"}
{"type":"user","id":12,"username":"jsilva","name":"João Silva"}
"#;

#[test]
fn two_of_one_name_are_told_apart_from_the_search_to_taking_back() {
    let desk = Desk::with(Vec::new(), Some(&format!("{}{NAMESAKES}", company(2))));
    let browser = &desk.browser;
    desk.tick("API 1001");
    let share = desk.open_share(&PT);
    for username in ["joao.silva", "jsilva"] {
        let people = share.by_role("searchbox", PT.search_people);
        desk.empty(&people);
        people.type_text(username);
        share.by_role_containing("button", username).click();
        let chosen = share.by_role("group", &format!("João Silva ({username})"));
        assert!(chosen.text().contains(username), "{}", chosen.text());
        share.by_role("button", &format!("Remover João Silva ({username})"));
    }
    desk.send(&share, &PT);
    desk.told(&PT, "2 acessos novos");
    desk.at("secrets/1001");
    browser.see("João Silva (joao.silva)");
    browser.by_role("button", "Retirar acesso de João Silva (joao.silva)");
    browser.by_role("button", "Retirar acesso de João Silva (jsilva)").click();
    browser.see("Retirar o acesso de João Silva (jsilva) a este segredo?");
    browser.by_role("dialog", "Retirar acesso").by_role("button", PT.yes).click();
    browser.gone("button", "Retirar acesso de João Silva (jsilva)");
    browser.by_role("button", "Retirar acesso de João Silva (joao.silva)");
    // Whose a secret is, too.
    desk.become_person("joao.silva");
    browser.see("Ana Souza (ana)");
    desk.quiet(&[]);
}

#[test]
fn what_turns_the_direction_of_a_name_is_shown_as_what_it_is() {
    let desk = Desk::with(Vec::new(), Some(&company(2)));
    let browser = &desk.browser;
    // As they may be there from before: no way in takes them.
    desk.sql(
        "UPDATE secrets SET name = 'API \u{202e}1001\u{200b}', url = 'https://a.example/\u{202e}gpj.exe', \
         identifier = 'x\u{feff}y' WHERE id = 1001; \
         UPDATE principals SET name = 'Bruno\u{202e}snitraM' WHERE id = 2; \
         INSERT INTO secret_tags (secret_id, tag) VALUES (1001, 'pr\u{2066}od'); \
         INSERT INTO grants (secret_id, principal_id, permission, granted_at) VALUES (1001, 2, 1, 0);",
    );
    let is_clean = |where_from: &str| {
        let text = browser.script("return document.body.innerText + document.title", &[]);
        let text = text.as_str().unwrap_or_default().to_owned();
        let hidden: Vec<char> = text.chars().filter(|c| batchshare::domain::text::is_hidden(*c)).collect();
        assert!(hidden.is_empty(), "{where_from}: {hidden:?} in {text}");
    };
    desk.at("secrets");
    browser.reload();
    browser.see("API ⟨U+202E⟩1001⟨U+200B⟩");
    browser.see("a.example/⟨U+202E⟩gpj.exe");
    browser.see("pr⟨U+2066⟩od");
    is_clean("the list");
    desk.at("secrets/1001");
    browser.see("Bruno⟨U+202E⟩snitraM (bruno)");
    browser.see("x⟨U+FEFF⟩y");
    browser.by_role("button", "Retirar acesso de Bruno⟨U+202E⟩snitraM (bruno)");
    is_clean("the secret");
    desk.at("secrets");
    desk.tick("API ⟨U+202E⟩1001⟨U+200B⟩");
    let share = desk.open_share(&PT);
    share.by_role("searchbox", PT.search_people).type_text("bruno");
    share.by_role_containing("button", "Bruno⟨U+202E⟩snitraM").click();
    share.by_role("group", "Bruno⟨U+202E⟩snitraM (bruno)");
    is_clean("the share window");
}
