//! The way to the server, broken in each of the ways that ways break.

use serde_json::json;

use super::desk::{Desk, PT, company};
use crate::chaos::relay::{Mode, Silence, TcpRelay};

/// From the selection to a share with eva that is on its way.
fn send(desk: &Desk, secret: &str) {
    desk.tick(secret);
    let share = desk.open_share(&PT);
    desk.choose(&share, &PT, "eva", "Eva Lima");
    desk.send(&share, &PT);
}

fn jobs(desk: &Desk) -> Option<usize> {
    desk.api("GET", "ana", "/share-jobs", None)["items"].as_array().map(Vec::len)
}

/// Cuts the answer to the next share short.
const CUT: &str = "
    const truly = window.fetch;
    window.fetch = async (path, options) => {
        if (options?.method !== 'POST' || path.endsWith('/preview')) return truly(path, options);
        window.fetch = truly;
        return new Response((await (await truly(path, options)).text()).slice(0, 20), { status: 202 });
    };
";

/// Answers every share with the status `arguments[0]`, until this is run with another. The page sends a share again by
/// itself where it does not know what became of it, so that one answer alone would be read for a moment only.
const REFUSE: &str = "
    const [status, type] = arguments;
    window.truly ??= window.fetch;
    window.fetch = async (path, options) => {
        if (options?.method !== 'POST' || path.endsWith('/preview')) return window.truly(path, options);
        return new Response(type ? JSON.stringify({ type }) : '<h1>No</h1>', { status });
    };
";

#[test]
fn a_share_whose_answer_was_cut_short_is_not_called_unsent_and_is_made_once() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    desk.browser.script(CUT, &[]);
    send(&desk, "API 1001");
    desk.told(&PT, "Sem confirmação do servidor");
    let region = desk.browser.by_role("region", PT.notices);
    assert!(!region.text().contains("Nada foi compartilhado"), "{}", region.text());
    assert!(region.maybe_by_role("button", "Voltar à seleção").is_none(), "that would make a second job");
    region.by_role("button", "Tentar novamente").click();
    desk.told(&PT, "1 acesso novo");
    desk.browser.wait("no card but the notice", 20, || {
        let text = desk.browser.by_role("region", PT.notices).text();
        (!text.contains("Sem confirmação") && !text.contains("Enviando")).then_some(())
    });
    assert_eq!(jobs(&desk), Some(1));
    desk.quiet(&[]);
}

#[test]
fn whoever_refuses_on_the_way_the_person_reads_what_it_means() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let ours = |name: &str| json!(format!("urn:batchshare:problem:{name}"));
    let none = || json!(null);
    let unsure = "Não sabemos se o servidor recebeu o pedido.";
    // Whether it was refused, what is read, and whether sending the same again can help.
    for (status, name, sure, text, again) in [
        (401, none(), true, "Você não está conectado. Entre novamente.", true),
        (403, none(), true, "Você não tem permissão para isso.", false),
        (413, none(), true, "O pedido ultrapassa o tamanho máximo.", false),
        (429, none(), true, "Pedidos demais em pouco tempo.", true),
        (429, ours("too_many_jobs"), true, "Você tem compartilhamentos demais em andamento.", true),
        (502, none(), false, unsure, true),
        (503, ours("unavailable"), false, unsure, true),
        (500, ours("internal"), false, unsure, true),
    ] {
        desk.browser.script(REFUSE, &[json!(status), name]);
        send(&desk, "API 1001");
        desk.told(&PT, text);
        desk.told(
            &PT,
            if sure { "O compartilhamento não foi enviado" } else { "Sem confirmação do servidor" },
        );
        let region = desk.browser.by_role("region", PT.notices);
        assert_eq!(region.text().contains("Nada foi compartilhado."), sure, "{status}");
        // What is sent again by itself asks nobody to do so.
        assert!(sure || !region.text().contains("Tente novamente"), "{status}");
        assert_eq!(region.maybe_by_role("button", "Tentar novamente").is_some(), again, "{status}");
        // The share itself goes away, not a word about it.
        region.by_role("button", if sure { "Descartar" } else { "Desistir do envio" }).click();
        desk.told(&PT, "Nenhum aviso.");
    }
    assert_eq!(jobs(&desk), Some(0));
    desk.quiet(&[]);
}

/// The page's patience of half a minute, in one second.
const SOONER: &str =
    "const truly = AbortSignal.timeout; AbortSignal.timeout = (ms) => truly.call(AbortSignal, ms / 30)";

/// A desk whose browser comes through a relay.
async fn far() -> (Desk, TcpRelay) {
    let desk = tokio::task::block_in_place(|| Desk::with(Vec::new(), Some(&company(5))));
    let (_, port) = desk.address.rsplit_once(':').expect("a port");
    let relay = TcpRelay::start(port.parse().expect("a number")).await;
    tokio::task::block_in_place(|| {
        desk.browser.goto(&format!("http://127.0.0.1:{}/", relay.port));
        desk.browser.by_role("link", "API 1001");
    });
    (desk, relay)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_answered_ends_and_is_sent_again() {
    let (desk, relay) = far().await;
    tokio::task::block_in_place(|| {
        desk.tick("API 1001");
        let share = desk.open_share(&PT);
        desk.choose(&share, &PT, "eva", "Eva Lima");
        desk.browser.script(SOONER, &[]);
        relay.set(Mode::Stall);
        desk.send(&share, &PT);
        desk.told(&PT, "Enviando");
        desk.told(&PT, "Sem confirmação do servidor");
        relay.set(Mode::Flow);
        desk.told(&PT, "1 acesso novo");
        assert_eq!(jobs(&desk), Some(1));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_died_without_a_word_is_noticed() {
    let (desk, relay) = far().await;
    tokio::task::block_in_place(|| {
        desk.told(&PT, "Nenhum aviso.");
        // What is open stays open and says nothing more; what is new flows. Then a minute goes by.
        desk.browser.script(SOONER, &[]);
        relay.silence_open(Silence::UntilSpokenTo);
        desk.browser.script(
            "const now = performance.now.bind(performance); performance.now = () => now() + 60_000",
            &[],
        );
        let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user", "id": 3}]});
        desk.api("POST", "ana", "/share-jobs", Some(&body));
        desk.told(&PT, "1 acesso novo");
        desk.browser.wait("the list is new, too", 10, || {
            let rows = "return document.querySelector('td.shared').textContent";
            (desk.browser.script(rows, &[]) == "Sim").then_some(())
        });
    });
}

#[test]
fn many_tabs_leave_each_other_room() {
    let desk = Desk::with(Vec::new(), Some(&company(5)));
    let browser = &desk.browser;
    browser.by_role("link", "API 1001");
    let first = browser.tab();
    // A browser has six connections to a server over HTTP/1.1, for all tabs.
    for _ in 0..8 {
        let hide = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });
                    document.dispatchEvent(new Event('visibilitychange'))";
        browser.script(hide, &[]);
        browser.new_tab();
        desk.at("secrets");
        browser.by_role("link", "API 1001");
    }
    // Who comes back sees what happened meanwhile.
    let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user", "id": 3}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.told(&PT, "1 acesso novo");
    browser.switch(&first);
    browser.script("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))", &[]);
    desk.told(&PT, "1 acesso novo");
    desk.quiet(&[]);
}

#[test]
fn a_job_that_waits_for_another_try_says_so_and_goes_on() {
    // As many tries as it takes until the page was looked at on a busy machine.
    let delays = ("BATCHSHARE__WORKER__RETRY_DELAYS_MS", ["4000"; 16].join(","));
    let desk = Desk::with(vec![delays], Some(&company(5)));
    let browser = &desk.browser;
    desk.sql("CREATE TRIGGER failing BEFORE INSERT ON grants BEGIN SELECT RAISE(ABORT, 'between us'); END;");
    send(&desk, "API 1001");
    desk.told(&PT, "Nova tentativa agendada");
    desk.told(&PT, "Nada se perdeu.");
    browser.by_role("link", "Nova tentativa agendada").click();
    browser.by_role("heading", "API 1001 para Eva Lima");
    browser.see("Falha temporária");
    browser.see("Nenhuma recusa registrada.");
    assert!(!browser.text().contains("between us"), "the database's words are for operators");
    desk.sql("DROP TRIGGER failing");
    desk.told(&PT, "1 acesso novo");
    browser.see("Nada ficou de fora.");
    desk.quiet(&[]);
}
