//! What the receiver gets: seeing, showing, editing, and who has access.

use serde_json::json;

use super::desk::{Desk, PT};

/// The demo data, with one secret of ana shared with bruno.
fn shared(permission: &str) -> (Desk, i64, String) {
    let desk = Desk::demo();
    let secret = desk.api("GET", "ana", "/secrets?search=adyen-pagamentos-prod", None)["items"][0].take();
    let (id, name) =
        (secret["id"].as_i64().expect("an id"), secret["name"].as_str().expect("a name").to_owned());
    let body = json!({"secrets": {"ids": [id]}, "recipients": [{"kind": "user", "id": 2, "permission": permission}]});
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.notice("ana");
    (desk, id, name)
}

#[test]
fn who_may_view_sees_the_value_and_cannot_edit() {
    let (desk, id, name) = shared("view");
    desk.become_person("Bruno Martins");
    desk.browser.by_role("link", "Compartilhados comigo").click();
    desk.browser.by_role("link", &name).click();
    desk.browser.by_role("heading", &name);
    let back = desk.browser.by_role("link", "Voltar à lista");
    assert_eq!(back.attribute("href").as_deref(), Some("#/shared"));
    desk.browser.see("Você pode visualizar este segredo.");
    assert!(desk.browser.maybe_by_role("button", "Editar").is_none());
    assert!(!desk.browser.text().contains("Retirar acesso"));
    assert!(!desk.browser.names("link").iter().any(|name| name.starts_with("Ver ")), "the share is ana's");
    let value = desk.api("GET", "bruno", &format!("/secrets/{id}/client-secret"), None);
    let value = value["client_secret"].as_str().expect("a value");
    assert!(
        !desk.browser.script("return document.documentElement.outerHTML", &[]).to_string().contains(value)
    );
    desk.browser.by_role("button", "Mostrar").click();
    desk.browser.see(value);
    desk.browser.by_role("button", "Ocultar").click();
    desk.browser.see_no_more(value);
    let rights = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    desk.browser.cdp("Browser.grantPermissions", &rights);
    desk.browser.by_role("button", "Copiar Client secret").click();
    desk.browser.see("Copiado.");
    assert_eq!(desk.browser.script("return navigator.clipboard.readText()", &[]), value);
    // The page only follows: the API refuses.
    let (status, problem) = crate::process::http(
        "PATCH",
        &desk.address,
        &format!("/api/v1/secrets/{id}"),
        "bruno",
        Some(&json!({"name": "mine"})),
    );
    assert_eq!((status, &problem["type"]), (403, &json!("urn:batchshare:problem:not_allowed")));
    desk.quiet(&[]);
}

#[test]
fn who_may_edit_changes_what_was_meant_and_nothing_else() {
    let (desk, id, name) = shared("edit");
    desk.become_person("Bruno Martins");
    desk.at(&format!("secrets/{id}"));
    let browser = &desk.browser;
    browser.by_role("heading", &name);
    browser.by_role("button", "Editar").click();
    let field = browser.by_role("textbox", "Nome");
    assert!(field.is_focused(), "ready to type");
    desk.empty(&field);
    browser.by_role("button", "Salvar").click();
    browser.see("Preencha este campo.");
    field.type_text("Adyen nova");
    browser.by_role_containing("textbox", "Novo client secret").type_text("valor-novo-1");
    // Meanwhile somebody else edits another field.
    desk.api("PATCH", "ana", &format!("/secrets/{id}"), Some(&json!({"notes": "Da Ana"})));
    browser.by_role("button", "Salvar").click();
    browser.by_role("heading", "Adyen nova");
    browser.see("Da Ana");
    let value = desk.api("GET", "ana", &format!("/secrets/{id}/client-secret"), None);
    assert_eq!(value["client_secret"], "valor-novo-1");
    // A taken identifier is refused, and the field is named.
    browser.by_role("button", "Editar").click();
    let identifier = browser.by_role("textbox", "Identificador");
    desk.empty(&identifier);
    identifier.type_text("stripe-pagamentos-prod");
    browser.by_role("button", "Salvar").click();
    browser.see("Este identificador já é usado por outro segredo.");
    assert_eq!(identifier.attribute("aria-invalid").as_deref(), Some("true"));
    browser.by_role("button", "Cancelar").click();
    desk.quiet(&["409"]);
}

#[test]
fn who_has_access_is_told_by_name_and_access_can_be_taken_back() {
    let (desk, id, name) = shared("view");
    desk.at(&format!("secrets/{id}"));
    let browser = &desk.browser;
    browser.by_role("heading", &name);
    browser.see("Bruno Martins");
    browser.see("Pode visualizar");
    browser.by_role("link", "Ver o compartilhamento que deu acesso a Bruno Martins (bruno)").click();
    browser.see("1 acesso novo");
    browser.see("Concluído");
    desk.at(&format!("secrets/{id}"));
    browser.by_role("button", "Retirar acesso de Bruno Martins (bruno)").click();
    let question = browser.by_role("dialog", "Retirar acesso");
    question.by_role("button", "Não").click();
    browser.gone("dialog", "Retirar acesso");
    browser.wait("the focus is given back", 5, || {
        (browser.focused().name() == "Retirar acesso de Bruno Martins (bruno)").then_some(())
    });
    browser.by_role("button", "Retirar acesso de Bruno Martins (bruno)").click();
    browser.by_role("dialog", "Retirar acesso").by_role("button", PT.yes).click();
    browser.see("Só o proprietário tem acesso.");
    let left = desk.api("GET", "bruno", "/secrets?owner=others", None);
    assert_eq!(left["items"], json!([]));
    // What one may not see is like what does not exist.
    desk.become_person("Bruno Martins");
    browser.by_role("heading", "Página não encontrada");
    desk.quiet(&["404"]);
}
