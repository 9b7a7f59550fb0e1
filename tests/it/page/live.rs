//! Progress and notices while a person watches, goes away and comes back.

use serde_json::{Value, json};

use super::browser::Browser;
use super::desk::{Desk, PT, company};
use crate::process::{Env, Program};
use crate::production::Site;

/// A worker that takes its time: chunks of three pairs, each a turn of its own.
fn slowly() -> Env {
    vec![
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "3".to_owned()),
        ("BATCHSHARE__WORKER__SLICE_MS", "1".to_owned()),
    ]
}

/// Shares everything that is selected with bruno.
fn share_with_bruno(desk: &Desk) {
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    desk.send(&share, &PT);
}

/// What the progress card says is done, if there is one.
fn done(browser: &Browser) -> Option<f64> {
    // In one call: the card may go away at any time.
    let bar = "[aria-label='Progresso do compartilhamento']";
    browser.script(&format!("return document.querySelector(\"{bar}\")?.value ?? null"), &[]).as_f64()
}

#[test]
fn progress_is_real_and_right_again_after_a_reload() {
    let desk = Desk::with(slowly(), Some(&company(6_000)));
    let browser = &desk.browser;
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("6.000 segredos selecionados");
    share_with_bruno(&desk);
    let seen = browser.wait("some progress", 30, || done(browser).filter(|done| *done > 0.0));
    assert!(seen < 6_000.0, "{seen}");
    browser.reload();
    let after = browser.wait("progress after the reload", 10, || done(browser));
    assert!(after >= seen, "{after} after {seen}");
    browser.wait("it moves on by itself", 30, || (done(browser).is_none_or(|now| now > after)).then_some(()));
    // The jobs page shows the same job and follows it to its end.
    browser.by_role("link", "Meus compartilhamentos").click();
    browser.see("6.000");
    desk.told(&PT, "6.000 acessos novos");
    browser.see("Concluído");
    assert!(done(browser).is_none());
    desk.quiet(&[]);
}

#[test]
fn rows_that_were_loaded_stay_when_something_happens() {
    const LOADED: i64 = 205;
    let desk = Desk::with(Vec::new(), Some(&company(1)));
    let browser = &desk.browser;
    let share = || {
        let to = json!([{"kind": "user", "id": 2}]);
        let body = json!({"secrets": {"ids": [1_001]}, "recipients": to});
        let job = desk.api("POST", "ana", "/share-jobs", Some(&body));
        let path = format!("/share-jobs/{}", job["job_id"].as_str().expect("an id"));
        crate::process::until("the job's end", 20, || {
            (desk.api("GET", "ana", &path, None)["state"] == "completed").then_some(())
        });
    };
    // The page is away meanwhile, because it would show a notice for each.
    browser.goto("about:blank");
    (0..LOADED).for_each(|_| share());
    browser.goto(&format!("http://{}/", desk.address));
    browser.by_role("link", "Meus compartilhamentos").click();
    let rows = || browser.script("return document.querySelectorAll('main tbody tr').length", &[]).as_i64();
    let first = || browser.script("return document.querySelector('main tbody tr a').href", &[]);
    for loaded in [50, 100, 150, 200] {
        browser.wait("a page more", 10, || (rows() == Some(loaded)).then_some(()));
        browser.by_role("button", "Carregar mais").click();
    }
    browser.wait("the last page", 10, || (rows() == Some(LOADED)).then_some(()));
    let latest = first();
    share();
    browser.wait("the new job above them", 10, || (first() != latest).then_some(()));
    assert_eq!(rows(), Some(LOADED), "none of them is gone");
    desk.quiet(&[]);
}

#[test]
fn a_notice_waits_for_a_person_who_closed_the_tab_and_stays_until_dismissed() {
    let desk = Desk::with(slowly(), Some(&company(3_000)));
    let browser = &desk.browser;
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("3.000 segredos selecionados");
    share_with_bruno(&desk);
    browser.wait("a card", 10, || done(browser));
    browser.goto("about:blank");
    assert_eq!(desk.notice("ana")["counts"]["granted"], 3_000);
    browser.goto(&format!("http://{}/", desk.address));
    desk.told(&PT, "3.000 acessos novos");
    browser.reload();
    desk.told(&PT, "3.000 acessos novos");
    browser.by_role("button", "Dispensar aviso").click();
    desk.told(&PT, "Nenhum aviso.");
    browser.reload();
    browser.by_role("checkbox", PT.select_all);
    desk.told(&PT, "Nenhum aviso.");
    desk.quiet(&[]);
}

#[test]
fn two_tabs_have_their_own_selection_and_the_same_notices() {
    let desk = Desk::demo();
    let browser = &desk.browser;
    desk.search("stripe", "Stripe");
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("19 segredos selecionados");
    let first = browser.tab();
    let second = browser.new_tab();
    desk.at("secrets");
    desk.search("adyen", "Adyen");
    assert!(browser.maybe_by_role("button", PT.share).is_none(), "no selection leaks from the other tab");
    browser.switch(&first);
    share_with_bruno(&desk);
    desk.told(&PT, "19 acessos novos");
    browser.switch(&second);
    desk.told(&PT, "19 acessos novos");
    browser.by_role("button", "Dispensar aviso").click();
    browser.switch(&first);
    // The stream looks for what it was not told of every ten seconds.
    desk.told(&PT, "Nenhum aviso.");
    desk.quiet(&[]);
}

#[test]
fn partial_is_not_success_and_says_who_and_why() {
    let desk = Desk::with(Vec::new(), Some(&company(60)));
    let browser = &desk.browser;
    browser.by_role("checkbox", PT.select_all).click();
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    // Between choosing and sending, somebody disables two of them.
    for id in [1_005, 1_006] {
        desk.api("PATCH", "ana", &format!("/secrets/{id}"), Some(&json!({"disabled": true})));
    }
    desk.send(&share, &PT);
    desk.told(&PT, "Compartilhado parcialmente");
    desk.told(&PT, "58 acessos novos");
    desk.told(&PT, "2 acessos não concedidos");
    desk.told(&PT, "API 1005: está desativado");
    assert!(!browser.by_role("region", PT.notices).text().contains("concluído"), "partial is not success");
    browser.by_role("link", "Ver detalhes").click();
    browser.by_role("heading", "60 segredos para Bruno Martins");
    browser.see("O que não foi compartilhado");
    browser.see("API 1006");
    browser.see("Concluído parcialmente");
    // The report can be saved, by the address that the page has for it.
    for (name, begins) in [("Exportar CSV", "secret_id,"), ("Exportar JSON", "{")] {
        let href = browser.by_role("link", name).property("href");
        let saved = browser.script("return fetch(arguments[0]).then((answer) => answer.text())", &[href]);
        assert!(saved.as_str().is_some_and(|text| text.starts_with(begins)), "{name}: {saved}");
    }
    // What was left out is shared once it can be, and nothing else.
    for id in [1_005, 1_006] {
        desk.api("PATCH", "ana", &format!("/secrets/{id}"), Some(&json!({"disabled": false})));
    }
    browser.by_role("button", "Compartilhar o restante").click();
    let question = browser.by_role("dialog", "Compartilhar o restante?");
    browser.see("2 acessos não foram concedidos ou não foram tentados.");
    question.by_role("button", "Compartilhar o restante").click();
    desk.told(&PT, "2 acessos novos");
    desk.quiet(&[]);
}

#[test]
fn failure_is_not_hidden() {
    let desk = Desk::with(Vec::new(), Some(&company(3)));
    desk.tick("API 1001");
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    desk.api("PATCH", "ana", "/secrets/1001", Some(&json!({"disabled": true})));
    desk.send(&share, &PT);
    desk.told(&PT, "Não foi compartilhado");
    desk.told(&PT, "Nenhum acesso pôde ser concedido.");
    desk.told(&PT, "API 1001: está desativado");
    desk.quiet(&[]);
}

#[test]
fn a_share_that_cannot_be_sent_says_so_and_can_be_sent_again() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    desk.tick("API 1001");
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    browser.offline(true);
    desk.send(&share, &PT);
    desk.told(&PT, "Sem confirmação do servidor");
    desk.told(&PT, "nada é compartilhado duas vezes");
    browser.offline(false);
    desk.told(&PT, "1 acesso novo");
    assert_eq!(desk.api("GET", "ana", "/share-jobs", None)["items"].as_array().map(Vec::len), Some(1));
    desk.quiet(&["ERR_INTERNET_DISCONNECTED"]);
}

#[test]
fn a_share_that_the_server_refuses_goes_back_to_the_selection() {
    let limit = ("BATCHSHARE__LIMITS__SECRETS", "3".to_owned());
    let desk = Desk::with(vec![limit], Some(&company(5)));
    let browser = &desk.browser;
    browser.by_role("checkbox", PT.select_all).click();
    share_with_bruno(&desk);
    desk.told(&PT, "O pedido ultrapassa o tamanho máximo. Selecione menos segredos ou destinatários.");
    desk.told(&PT, "Nada foi compartilhado.");
    // What was selected meanwhile is not thrown away without a word.
    desk.tick("API 1004");
    assert!(browser.maybe_by_role("button", "Tentar novamente").is_none(), "it would be refused again");
    let back = browser.by_role("button", "Voltar à seleção");
    assert_eq!(back.attribute("class").as_deref(), Some("primary"));
    back.click();
    browser.see("A seleção atual, de 1 segredo, será substituída.");
    browser.by_role("button", PT.yes).click();
    let share = browser.by_role_containing("dialog", "Compartilhar 5 segredos");
    share.by_role("group", "Bruno Martins (bruno)");
    browser.press("Escape");
    for secret in ["API 1001", "API 1002"] {
        desk.tick(secret);
    }
    browser.see("3 segredos selecionados");
    share_with_bruno(&desk);
    desk.told(&PT, "3 acessos novos");
    desk.quiet(&["422"]);
}

#[test]
fn the_page_finds_back_by_itself_after_the_server_was_away() {
    let mut desk = Desk::with(slowly(), Some(&company(3_000)));
    desk.browser.by_role("checkbox", PT.select_all).click();
    desk.browser.see("3.000 segredos selecionados");
    share_with_bruno(&desk);
    let seen = desk.browser.wait("some progress", 30, || done(&desk.browser).filter(|done| *done > 0.0));
    assert!(seen < 3_000.0, "{seen}");
    assert_eq!(desk.program.stop(), 0);
    desk.browser.see("Sem conexão com o servidor.");
    let listen = ("BATCHSHARE__GATEWAY__LISTEN", desk.address.clone());
    let mut env: Env = desk.env.iter().filter(|(name, _)| *name != listen.0).cloned().collect();
    env.push(listen);
    desk.program = Program::start(&["up"], &env);
    desk.program.address();
    desk.browser.see_no_more("Sem conexão com o servidor.");
    // The job goes on where it stood, and the page with it.
    desk.told(&PT, "3.000 acessos novos");
    desk.tick("API 1001");
    desk.tick("API 1002");
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    share.by_role("checkbox", PT.can_edit).click();
    desk.choose(&share, &PT, "eva", "Eva Lima");
    desk.send(&share, &PT);
    desk.told(&PT, "2 acessos novos");
    desk.told(&PT, "2 acessos ampliados para edição");
    desk.tick("API 1001");
    share_with_bruno(&desk);
    desk.told(&PT, "1 acesso já existia");
    desk.quiet(&["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE"]);
}

/// RabbitMQ and PostgreSQL, two gateways, two workers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_servers_the_job_waits_for_the_workers_and_the_page_for_the_job() {
    let mut site = Site::start().await;
    tokio::task::block_in_place(|| {
        for work in &mut site.work {
            assert_eq!(work.stop(), 0);
        }
        let browser = Browser::start();
        browser.goto(&format!("http://{}/", site.addresses[0]));
        browser.by_role("checkbox", PT.select_all).click();
        browser.see("1.200 segredos selecionados");
        browser.by_role("button", PT.share).click();
        browser.by_role("button", PT.yes).click();
        let share = browser.by_role_containing("dialog", "Compartilhar 1.200 segredos");
        share.by_role("searchbox", PT.search_people).type_text("user3");
        share.by_role_containing("button", "user3").click();
        share.by_role("button", PT.share).click();
        let region = || browser.by_role("region", PT.notices).text();
        browser.wait("a card that says that it waits", 20, || region().contains("Na fila").then_some(()));
        assert_eq!(done(&browser), Some(0.0), "no movement that is not real");
        // A second tab on the other gateway.
        let first = browser.tab();
        let second = browser.new_tab();
        browser.goto(&format!("http://{}/", site.addresses[1]));
        browser.wait("the same card", 20, || region().contains("Na fila").then_some(()));
        site.work.push(Program::start(&["work"], &site.env));
        for tab in [second, first] {
            browser.switch(&tab);
            browser.wait("the notice in both tabs", 30, || {
                region().contains("1.200 acessos novos").then_some(())
            });
        }
        let expected: [Value; 0] = [];
        assert_eq!(browser.console(), expected);
    });
}
