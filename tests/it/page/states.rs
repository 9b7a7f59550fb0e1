//! What a person meets when not all goes well: waiting, refused, not allowed, not there. Looked at like the
//! views.

use serde_json::json;

use super::desk::{Desk, EN, PT, SEARCH, company};
use super::views::look;

/// Every grant takes some 50 ms.
const SLOW: &str = "CREATE TRIGGER slow BEFORE INSERT ON grants BEGIN SELECT count(*) FROM (WITH RECURSIVE \
                    n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000) SELECT i FROM n); END;";

/// Every grant fails, with words of the database that are nobody else's business.
const FAILING: &str =
    "CREATE TRIGGER failing BEFORE INSERT ON grants BEGIN SELECT RAISE(ABORT, 'between us'); END;";

/// Answers the page's next shares in the server's place: with a status, or never.
const ANSWER: &str = "
    const [status] = arguments;
    window.truly ??= window.fetch;
    window.fetch = (path, options) => options?.method !== 'POST' || path.endsWith('/preview')
        ? window.truly(path, options)
        : status === 0 ? new Promise(() => {}) : Promise.resolve(new Response('<h1>No</h1>', { status }));
";

#[test]
fn every_state_is_open_to_everybody_in_both_themes_and_at_three_widths() {
    let settings = vec![
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "1".to_owned()),
        ("BATCHSHARE__WORKER__SLICE_MS", "1".to_owned()),
        ("BATCHSHARE__WORKER__RETRY_DELAYS_MS", "600000,600000".to_owned()),
    ];
    let desk = Desk::with(settings, Some(&company(2_000)));
    let browser = &desk.browser;
    browser.reduced_motion(true);
    let mut wrong = Vec::new();
    let mut look = |view: &str| look(browser, view, &mut wrong);
    // Running.
    browser.by_role("checkbox", PT.select_all);
    desk.sql(SLOW);
    let body = json!({"secrets": {"all": {}}, "recipients": [{"kind": "user", "id": 2}]});
    let job = desk.api("POST", "ana", "/share-jobs", Some(&body))["job_id"].take();
    let job = job.as_str().expect("an id");
    browser.size(360, 740);
    desk.told(&PT, "Compartilhando: ");
    look("20-running");
    desk.at(&format!("jobs/{job}"));
    browser.see("Em andamento");
    look("21-job-running");
    // Waiting for another try.
    desk.sql(&format!("DROP TRIGGER slow; {FAILING}"));
    browser.see("Falha temporária");
    look("22-job-retrying");
    desk.at("jobs");
    browser.by_role("heading", "Meus compartilhamentos");
    browser.see("Próxima tentativa");
    look("23-jobs-retrying");
    // Refused, on the way, and nobody knows.
    desk.at("secrets");
    for (status, title) in [(413, "não foi enviado"), (0, "Enviando"), (502, "Sem confirmação do servidor")]
    {
        browser.script(ANSWER, &[json!(status)]);
        desk.tick("API 1001");
        let share = desk.open_share(&PT);
        desk.choose(&share, &PT, "bruno", "Bruno Martins");
        desk.choose(&share, &PT, "eva", "Eva Lima");
        desk.send(&share, &PT);
        desk.told(&PT, title);
    }
    look("24-not-sent");
    browser.size(360, 740);
    browser.by_role("button", "Mostrar todos os avisos").click();
    look("25-not-sent-open");
    browser.reload();
    // The share window refuses.
    desk.tick("API 1001");
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    share.by_role("searchbox", PT.search_people).type_text("zzzz");
    browser.see("Ninguém encontrado para “zzzz”.");
    look("26-nobody-found");
    browser.press("Escape"); // empties the box
    let search = share.by_role("searchbox", PT.search_people);
    browser.wait("an empty box", 5, || (search.property("value") == "").then_some(()));
    browser.press("Escape");
    browser.by_role("button", "Limpar seleção").click();
    // Editing refuses.
    desk.at("secrets/1001");
    browser.by_role("button", "Editar").click();
    desk.empty(&browser.by_role("textbox", "Nome"));
    browser.by_role("button", "Salvar").click();
    browser.see("Preencha este campo.");
    look("27-edit-refused");
    browser.by_role("button", "Cancelar").click();
    // The receiver: may view, sees the value, cannot share.
    desk.api(
        "PATCH",
        "ana",
        "/secrets/1001",
        Some(&json!({"client_secret": "sk_live_um_valor_comprido_0123456789abcdef"})),
    );
    desk.become_person("Bruno Martins");
    browser.by_role("button", "Mostrar").click();
    browser.see("sk_live_um_valor");
    look("28-view-only-shown");
    browser.by_role("link", PT.nav).click();
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("você só pode visualizá-los.");
    look("29-not-shareable");
    desk.at(&format!("jobs/{job}"));
    browser.see("foi feito por outra pessoa");
    browser.by_role("heading", "Página não encontrada");
    browser.by_role("link", "Ir para Segredos de API");
    look("30-job-of-another");
    desk.become_person("Eva Lima");
    browser.by_role("link", PT.nav).click();
    browser.see("Você ainda não tem segredos de API.");
    browser.see("aparecem aqui.");
    assert!(browser.maybe_by_role("searchbox", SEARCH).is_none(), "nothing to search");
    look("31-no-secrets");
    // English dialogs.
    desk.become_person("Ana Souza");
    browser.by_role_containing("button", "EN").click();
    browser.by_role("checkbox", "Select API 1001").click();
    browser.by_role("button", EN.share).click();
    browser.by_role("dialog", "Share API secret");
    look("32-english-confirm");
    browser.by_role("button", EN.yes).click();
    let share = browser.by_role_containing("dialog", "Share 1 API secret");
    desk.choose(&share, &EN, "bruno", "Bruno Martins");
    look("33-english-share");
    browser.press("Escape");
    browser.by_role_containing("button", "PT").click();
    // Nobody is signed in; and no server.
    desk.sql("UPDATE principals SET active = false WHERE id = 1");
    browser.reload();
    browser.by_role("heading", "Você não está conectado");
    look("34-nobody");
    desk.sql("UPDATE principals SET active = true WHERE id = 1");
    browser.reload();
    browser.by_role("link", "API 1001");
    browser.offline(true);
    browser.wait("the banner", 40, || browser.text().contains("Sem conexão com o servidor.").then_some(()));
    look("35-offline");
    browser.offline(false);
    browser.see_no_more("Sem conexão com o servidor.");
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}
