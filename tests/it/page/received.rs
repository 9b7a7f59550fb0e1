//! What others have shared with me: how much is new, by whom, and with which note.

use serde_json::json;

use super::desk::Desk;

#[test]
fn what_was_shared_with_me_is_counted_told_and_then_seen() {
    let desk = Desk::demo();
    let secret = desk.api("GET", "ana", "/secrets?search=adyen-pagamentos-prod", None)["items"][0].take();
    let mut body = json!({"secrets": {"ids": [secret["id"]]}, "recipients": [{"kind": "user", "id": 2}]});
    body["note"] = json!("Chave nova, vale até sexta");
    desk.api("POST", "ana", "/share-jobs", Some(&body));
    desk.notice("ana");
    let unseen = || desk.api("GET", "bruno", "/received", None)["unseen"].clone();
    assert_eq!(unseen(), 1);
    desk.become_person("Bruno Martins");
    desk.browser.see("1 compartilhamento novo");
    let item = desk.browser.by_role("link", "Compartilhados comigo");
    assert_eq!(item.attribute("aria-describedby").as_deref(), Some("unseen"));
    item.click();
    desk.browser.see("Ana Souza compartilhou 1 segredo com você.");
    desk.browser.see("Chave nova, vale até sexta");
    desk.browser.see("Novo");
    desk.browser.wait("it is seen", 30, || (unseen() == 0).then_some(()));
    desk.browser.see_no_more("1 compartilhamento novo");
    let name = secret["name"].as_str().expect("a name");
    desk.browser.see("Ver os segredos");
    desk.browser.script("document.querySelector('.received summary').click()", &[]);
    desk.browser.wait("the secret of the batch", 30, || {
        let found = "return document.querySelector('.opened a')?.textContent";
        (desk.browser.script(found, &[]) == name).then_some(())
    });
    // The share is undone: the entry stays and says so.
    let job = desk.api("GET", "ana", "/share-jobs", None)["items"][0]["job_id"].clone();
    let path = format!("/share-jobs/{}/undo", job.as_str().expect("an id"));
    desk.api("POST", "ana", &path, None);
    let state = || desk.api("GET", "bruno", "/received", None)["items"][0]["state"].clone();
    desk.browser.wait("it is undone", 30, || (state() == "undone").then_some(()));
    desk.at("secrets");
    desk.browser.by_role("heading", "Segredos de API");
    desk.browser.by_role("link", "Compartilhados comigo").click();
    desk.browser.see("Não está mais compartilhado");
    desk.quiet(&[]);
}
