//! Every view in both themes and at three widths: what axe-core says of it, and how it looks
//! (`target/screenshots`).

use std::path::{Path, PathBuf};

use serde_json::json;

use super::browser::Browser;
use super::desk::{Desk, PT, SEARCH};

const WIDTHS: [(u32, u32); 3] = [(360, 740), (820, 1_100), (1_440, 900)];

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("screenshots")
}

/// Takes the view's pictures and says what is wrong with it.
pub fn look(browser: &Browser, view: &str, wrong: &mut Vec<String>) {
    for theme in ["light", "dark"] {
        browser.theme(theme);
        for (width, height) in WIDTHS {
            browser.size(width, height);
            // The second theme has the same elements in other colours.
            let found = if theme == "light" { browser.axe() } else { browser.axe_of_colours() };
            wrong.extend(found.into_iter().map(|line| format!("{view}, {theme}, {width} px: {line}")));
            let wider = browser.script("return document.documentElement.scrollWidth - innerWidth", &[]);
            if wider != 0 {
                wrong.push(format!("{view}, {theme}, {width} px: {wider} px wider than the window"));
            }
            browser.screenshot(&folder().join(format!("{view}-{theme}-{width}.png")));
        }
    }
    browser.theme("light");
    browser.size(1_280, 800);
}

#[test]
fn every_view_is_open_to_everybody_in_both_themes_and_at_three_widths() {
    let desk = Desk::demo();
    let browser = &desk.browser;
    browser.reduced_motion(true);
    let mut wrong = Vec::new();
    let mut look = |view: &str| look(browser, view, &mut wrong);
    browser.by_role("checkbox", PT.select_all);
    look("01-list");
    browser.by_role("searchbox", SEARCH).type_text("zzzz");
    browser.see("Nenhum segredo de API corresponde à busca.");
    look("02-nothing-found");
    browser.by_role("button", "Limpar busca e filtros").click();
    browser.by_role("checkbox", PT.select_all).click();
    browser.see("1.200 segredos selecionados");
    look("03-selected");
    browser.by_role("button", "Revisar seleção").click();
    browser.by_role("dialog", "1.200 segredos selecionados");
    browser.wait("names", 10, || browser.text().contains("Stripe").then_some(()));
    look("04-review");
    browser.press("Escape");
    browser.by_role("button", PT.share).click();
    browser.by_role("dialog", "Compartilhar segredos de API");
    look("05-confirm");
    browser.by_role("button", PT.yes).click();
    let share = browser.by_role_containing("dialog", "Compartilhar 1.200");
    desk.choose(&share, &PT, "bruno", "Bruno Martins");
    desk.choose(&share, &PT, "plant", "Plantão");
    look("06-chosen");
    share.by_role("searchbox", PT.search_people).type_text("an");
    share.by_role_containing("button", "Ana Souza");
    look("07-recipients");
    desk.empty(&share.by_role("searchbox", PT.search_people));
    desk.send(&share, &PT);
    desk.told(&PT, "Compartilhamento concluído");
    // One in part, and one that failed.
    let ids = |search: &str| -> Vec<i64> {
        let found = desk.api("GET", "ana", &format!("/secrets/ids?search={search}"), None);
        found.as_array().expect("ids").iter().filter_map(|one| one["id"].as_i64()).collect()
    };
    let recipients = json!([{"kind": "user", "id": 3}, {"kind": "user", "id": 4}, {"kind": "user_group", "id": 101, "permission": "edit"}]);
    for recipients in [recipients, json!([{"kind": "user", "id": 3}])] {
        let body = json!({"secrets": {"ids": ids("stripe")}, "recipients": recipients});
        desk.api("POST", "ana", "/share-jobs", Some(&body));
    }
    desk.told(&PT, "Compartilhado parcialmente");
    desk.told(&PT, "Não foi compartilhado");
    desk.told(&PT, "Carla Dias (carla): sem conta no MySafe");
    look("08-notices");
    browser.size(360, 740);
    browser.by_role("button", "Mostrar todos os avisos").click();
    look("09-notices-open");
    browser.size(360, 740);
    browser.by_role("button", "Recolher avisos").click();
    browser.size(1_280, 800);
    browser.by_role("link", "Meus compartilhamentos").click();
    browser.see("Concluído parcialmente");
    look("10-jobs");
    let jobs = desk.api("GET", "ana", "/share-jobs", None);
    let partial = jobs["items"]
        .as_array()
        .expect("jobs")
        .iter()
        .find(|job| job["state"] == "completed_with_rejections");
    desk.at(&format!("jobs/{}", partial.expect("a job")["job_id"].as_str().expect("an id")));
    browser.see("Davi Carvalho");
    look("11-job");
    browser.by_role("main", "").by_role_containing("button", "Desfazer: ").click();
    browser.by_role("dialog", "Desfazer este compartilhamento?");
    browser.see("acessos serão removidos.");
    look("11-undo");
    browser.press("Escape");
    let secret =
        desk.api("GET", "ana", "/secrets?search=stripe-pagamentos-prod", None)["items"][0]["id"].clone();
    desk.at(&format!("secrets/{secret}"));
    browser.by_role("button", "Retirar acesso de Bruno Martins (bruno)");
    look("12-secret");
    browser.by_role("button", "Editar").click();
    browser.by_role("button", "Salvar");
    look("13-edit");
    browser.by_role("button", "Cancelar").click();
    browser.by_role("button", "Retirar acesso de Bruno Martins (bruno)").click();
    browser.by_role("dialog", "Retirar acesso");
    look("14-take-back");
    browser.press("Escape");
    browser.by_role("button", "Por que Bruno Martins (bruno) tem acesso").click();
    browser.see("Pelo grupo");
    look("14-why");
    browser.press("Escape");
    desk.at("secrets");
    desk.search("stripe", "Stripe");
    browser.by_role("checkbox", PT.select_all).click();
    browser.by_role("button", "Remover acesso").click();
    let window = browser.by_role_containing("dialog", "Remover acesso a");
    desk.choose(&window, &PT, "bruno", "Bruno Martins");
    window.by_role("button", "Remover acesso").click();
    browser.see("Isto não pode ser desfeito");
    browser.see("acessos serão removidos.");
    look("14-unshare");
    browser.press("Escape");
    browser.gone("dialog", "Remover acesso?");
    browser.press("Escape");
    browser.by_role("button", "Limpar seleção").click();
    browser.by_role("button", "Grid Menu").click();
    browser.by_role("link", "MySafe");
    look("15-grid-menu");
    desk.at("nowhere");
    browser.by_role("heading", "Página não encontrada");
    browser.by_role("link", "Ir para Segredos de API");
    assert!(browser.maybe_by_role("link", "MySafe").is_none(), "the menu is closed");
    look("16-missing");
    browser.size(1_280, 800);
    desk.become_person("Bruno Martins");
    browser.by_role("link", "Compartilhados comigo").click();
    browser.by_role("heading", "Compartilhados comigo");
    browser.by_role("checkbox", PT.select_all);
    look("17-shared-with-me");
    browser.by_role("link", "Meus compartilhamentos").click();
    browser.see("Você ainda não compartilhou nada.");
    look("18-no-jobs");
    browser.by_role_containing("button", "EN").click();
    browser.by_role("link", "API secrets").click();
    browser.by_role("checkbox", "Select all");
    look("19-english");
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
    desk.quiet(&[]);
}
