//! Stopping, taking back and explaining: what the page has for a share that went wrong, and how it tells what it did.

use serde_json::{Value, json};

use super::desk::{Desk, PT, company};
use super::element::Element;
use crate::process::Env;

const BRUNO: &str = "Bruno Martins (bruno)";

/// Ana's company with a group in which bruno is.
fn with_group() -> String {
    let group = json!({"type": "user_group", "id": 30, "name": "Pagamentos", "members": [2]});
    format!("{}{group}\n", company(5))
}

/// A pair at a time, and no second try within a test: a job that fails on the way stands still there.
fn standing_still() -> Env {
    vec![
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "1".to_owned()),
        ("BATCHSHARE__WORKER__RETRY_DELAYS_MS", "600000,600000".to_owned()),
    ]
}

fn share(desk: &Desk, secrets: &[i64], kind: &str, id: i64) {
    let body = json!({"secrets": {"ids": secrets}, "recipients": [{"kind": kind, "id": id}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
}

/// What is shown for eight seconds stays.
const STAY: &str = "
    const truly = window.setTimeout;
    window.setTimeout = (act, wait, ...rest) => wait === 8000 ? 0 : truly(act, wait, ...rest);
";

/// Presses it without a mouse.
fn press(desk: &Desk, role: &str, name: &str) {
    desk.browser.by_role(role, name);
    desk.tab_to(role, name);
    desk.browser.press("Enter");
}

/// The dialog of this name, once the answer that does nothing has the focus.
fn question(desk: &Desk, name: &str, safe: &str) -> Element {
    let dialog = desk.browser.by_role("dialog", name);
    desk.browser
        .wait("the safe answer has the focus", 30, || (desk.browser.focused().name() == safe).then_some(()));
    dialog
}

fn of_others(desk: &Desk, person: &str) -> usize {
    desk.api("GET", person, "/secrets?owner=others", None)["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_share_is_cancelled_undone_taken_away_and_explained_with_the_keyboard_alone() {
    let desk = Desk::with(standing_still(), Some(&with_group()));
    let browser = &desk.browser;
    // The first three are shared; then it fails and waits.
    desk.sql(
        "CREATE TRIGGER failing BEFORE INSERT ON grants WHEN NEW.secret_id = 1004 \
              BEGIN SELECT RAISE(ABORT, 'between us'); END",
    );
    share(&desk, &[1_001, 1_002, 1_003, 1_004, 1_005], "user", 2);
    desk.told(&PT, "Nova tentativa agendada");
    desk.told(&PT, "5 segredos para Bruno Martins");
    desk.told(&PT, "3 de 5 acessos");

    // Cancelled: what was done stays, and the question says so.
    press(&desk, "button", "Cancelar: 5 segredos para Bruno Martins");
    question(&desk, "Cancelar o compartilhamento?", "Não, continuar");
    browser.see("O que já foi feito continua valendo: até agora, 3 acessos.");
    press(&desk, "button", "Sim, cancelar");
    desk.told(&PT, "Compartilhamento cancelado");
    desk.told(&PT, "3 acessos novos");
    desk.told(&PT, "2 acessos não foram tentados");
    assert_eq!(of_others(&desk, "bruno"), 3);
    desk.sql("DROP TRIGGER failing");

    // Undone, after it was counted; somebody has read one of the values meanwhile.
    let body = json!({"client_secret": "a value"});
    desk.api("PATCH", "ana", "/secrets/1001", Some(&body));
    desk.api("GET", "bruno", "/secrets/1001/client-secret", None);
    press(&desk, "button", "Desfazer: 5 segredos para Bruno Martins");
    question(&desk, "Desfazer este compartilhamento?", "Não");
    browser.see("3 acessos serão removidos.");
    browser.see("O valor de 1 segredo já foi lido por outra pessoa.");
    press(&desk, "button", "Desfazer");
    desk.told(&PT, "Compartilhamento desfeito");
    desk.told(&PT, "3 acessos removidos");
    assert_eq!(of_others(&desk, "bruno"), 0);

    // The undo and what it undoes lead to each other, and the record names everybody.
    press(&desk, "link", "Desfazer já foi pedido: ver o resultado");
    browser.see("De quem foi retirado (1)");
    press(&desk, "link", "Ver o compartilhamento que isto desfaz");
    browser.by_role("heading", "5 segredos para Bruno Martins");
    browser.see("Este compartilhamento foi desfeito.");
    let recipients = browser.by_role("table", "Com quem (1)");
    recipients.by_role("rowheader", BRUNO);
    browser.wait("what became of bruno's pairs", 30, || recipients.text().contains("3 novos").then_some(()));
    browser.by_role("table", "Segredos (5)").by_role("link", "API 1003");
    press(&desk, "link", "Ver o que foi desfeito");
    browser.by_role("link", "Ver o compartilhamento que isto desfaz");

    // All notices go at once, in the tab's title, too.
    browser.wait("the title counts", 30, || browser.title().starts_with("(2) ").then_some(()));
    press(&desk, "button", "Dispensar todos");
    desk.told(&PT, "Nenhum aviso.");
    browser.wait("the title counts no more", 30, || (!browser.title().starts_with('(')).then_some(()));
    assert_eq!(desk.api("GET", "ana", "/notices", None)["items"], json!([]));

    // Access is taken away from the list, by the same window and with a question that counts.
    share(&desk, &[1_001, 1_002], "user", 2);
    share(&desk, &[1_001, 1_002], "user_group", 30);
    browser.wait("both shares", 30, || {
        let notices = desk.api("GET", "ana", "/notices", None);
        (notices["items"].as_array()?.len() == 2).then_some(())
    });
    desk.at("secrets");
    browser.by_role("checkbox", "Selecionar API 1001");
    desk.tab_to("checkbox", "Selecionar API 1001");
    browser.press("Space");
    press(&desk, "button", "Remover acesso");
    let window = browser.by_role("dialog", "Remover acesso a 1 segredo de API");
    browser.wait("the search has the focus", 30, || (browser.focused().role() == "searchbox").then_some(()));
    browser.keys("bruno");
    window.by_role_containing("button", "Bruno Martins");
    browser.press("ArrowDown");
    browser.press("Enter");
    window.by_role("group", BRUNO);
    press(&desk, "button", "Remover acesso");
    question(&desk, "Remover acesso?", "Não");
    browser.see("1 acesso será removido.");
    browser.see("Isto não pode ser desfeito");
    press(&desk, "button", "Remover acesso");
    desk.told(&PT, "Acessos removidos");
    desk.told(&PT, "Acesso de Bruno Martins a API 1001");
    assert!(browser.maybe_by_role("button", "Remover acesso").is_none(), "the selection is empty");

    // Its record says who still has access, and through what.
    let job = desk.api("GET", "ana", "/share-jobs?limit=1", None)["items"][0]["job_id"].take();
    desk.at(&format!("jobs/{}", job.as_str().expect("an id")));
    let left = browser.by_role("table", "Quem ainda tem acesso");
    left.by_role("rowheader", BRUNO);
    browser.see("Pelo grupo de usuários Pagamentos");
    desk.at("secrets");

    // Bruno still has access, and the page says through what.
    press(&desk, "link", "API 1001");
    browser.by_role("table", "Pessoas com acesso");
    press(&desk, "button", &format!("Por que {BRUNO} tem acesso"));
    browser.by_role("dialog", &format!("Por que {BRUNO} tem acesso"));
    browser.see("Pode visualizar este segredo.");
    browser.see("Pelo grupo de usuários Pagamentos");
    browser.see("Compartilhado por Ana Souza");
    browser.press("Escape");

    // So it does when a grant is taken back by hand, and nothing is called gone that is not.
    desk.at("secrets/1002");
    press(&desk, "button", &format!("Retirar acesso de {BRUNO}"));
    question(&desk, "Retirar acesso", "Não");
    press(&desk, "button", PT.yes);
    browser.see("A pessoa ainda pode ver este segredo:");
    browser.see("Pelo grupo de usuários Pagamentos");
    press(&desk, "button", "Retirar acesso de Pagamentos");
    question(&desk, "Retirar acesso", "Não");
    press(&desk, "button", PT.yes);
    browser.see("O acesso direto de Pagamentos foi retirado.");
    browser.see_no_more("A pessoa ainda pode ver este segredo:");
    browser.see("Só o proprietário tem acesso.");
    desk.quiet(&[]);
}

#[test]
fn what_happens_is_told_where_one_looks_and_what_changes_nothing_is_neutral_in_english() {
    let desk = Desk::with(Vec::new(), Some(&with_group()));
    let browser = &desk.browser;
    browser.by_role_containing("button", "EN").click();
    browser.by_role("link", "API 1001");
    // Nobody hears or reaches the picture of a notice: the notice itself stays in its region.
    browser.script(STAY, &[]);
    let seen = "const one = document.querySelector('.toast');
        return one && [one.textContent, getComputedStyle(one).visibility, one.querySelectorAll('a, button').length]";
    share(&desk, &[1_001], "user", 2);
    let toast =
        browser.wait("a toast", 30, || Some(browser.script(seen, &[])).filter(|toast| !toast.is_null()));
    assert_eq!(toast, json!(["Sharing completed1 new access", "visible", 0]));
    share(&desk, &[1_001], "user", 2);
    let cards = || -> Vec<Value> {
        let cards = "return [...document.querySelectorAll('article.card')].map((one) => [one.className, one.querySelector('h3').textContent])";
        browser.script(cards, &[]).as_array().cloned().unwrap_or_default()
    };
    browser.wait("a second notice", 30, || (cards().len() == 2).then_some(()));
    assert_eq!(
        cards(),
        [
            json!(["card same", "Nothing changed: the accesses were there"]),
            json!(["card good", "Sharing completed"])
        ]
    );
    // An undo of the first leaves what the second asked for.
    desk.at("jobs");
    browser.by_role("heading", "My shares");
    browser.wait("both in the list", 30, || (browser.all_by_role("rowheader").len() == 2).then_some(()));
    browser.script("[...document.querySelectorAll('main tbody a')].at(-1).click()", &[]);
    browser.by_role("heading", "API 1001 to Bruno Martins");
    browser.by_role("main", "").by_role("button", "Undo: API 1001 to Bruno Martins").click();
    let asked = browser.by_role("dialog", "Undo this share?");
    browser.see("Nothing would be taken away now.");
    browser.see("1 access stays: others shared it, too.");
    asked.by_role("button", "Undo").click();
    browser.see("This share is undone.");
    browser.see("1 access kept: others shared it, too");
    assert_eq!(of_others(&desk, "bruno"), 1);
    // Another tab knows at once of what is dismissed here.
    let first = browser.tab();
    browser.new_tab();
    desk.at("jobs");
    browser.wait("all notices", 30, || (cards().len() == 3).then_some(()));
    browser.by_role("button", "Dismiss all").click();
    browser.see("No notices.");
    browser.switch(&first);
    browser.see("No notices.");
    // What was saved is seen, and an edit is lowered to a view.
    let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user_group", "id": 30, "permission": "edit"}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.at("secrets/1001");
    browser.by_role("button", "View only: Pagamentos").click();
    browser.by_role("button", "Yes").click();
    browser.see("1 access lowered to view");
    browser.gone("button", "View only: Pagamentos");
    browser.by_role("button", "Edit").click();
    browser.by_role("textbox", "Notes").type_text("new");
    browser.by_role("button", "Save").click();
    browser.wait("that it was saved, for all to see", 30, || {
        let toasts = browser.script("return document.querySelector('.toasts').innerText", &[]);
        toasts.as_str()?.contains("Changes saved.").then_some(())
    });
    desk.quiet(&[]);
}
