//! A person at a desk: the program with its page, and a browser that shows it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::browser::Browser;
use super::element::Element;
use crate::process::{Env, Program, http};

pub struct Desk {
    pub browser: Browser,
    pub address: String,
    pub program: Program,
    pub env: Env,
    _folder: tempfile::TempDir,
}

/// The words of the page that tests look for.
pub struct Words {
    pub nav: &'static str,
    pub select_all: &'static str,
    pub share: &'static str,
    pub yes: &'static str,
    pub search_people: &'static str,
    pub can_view: &'static str,
    pub can_edit: &'static str,
    pub notices: &'static str,
}

pub const PT: Words = Words {
    nav: "Segredos de API",
    select_all: "Selecionar todos",
    share: "Compartilhar",
    yes: "Sim",
    search_people: "Buscar usuários e grupos",
    can_view: "Pode visualizar",
    can_edit: "Pode editar",
    notices: "Avisos",
};

pub const EN: Words = Words {
    nav: "API secrets",
    select_all: "Select all",
    share: "Share",
    yes: "Yes",
    search_people: "Search users and groups",
    can_view: "Can view",
    can_edit: "Can edit",
    notices: "Notices",
};

pub const SEARCH: &str = "Buscar por nome, identificador ou URL";

impl Desk {
    /// `batchshare up` with its demo data, and ana at its page.
    pub fn demo() -> Self {
        Self::with(Vec::new(), None)
    }

    /// The same with further settings, or with this company in place of the demo data.
    pub fn with(further: Env, company: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut env = crate::embedded::settings(&folder);
        env.extend(further);
        if let Some(lines) = company {
            let path = crate::process::file(&folder, "company.jsonl", lines);
            for args in [vec!["migrate"], vec!["import", path.to_str().expect("a path")]] {
                let (code, _, err) = crate::process::run(&args, &env);
                assert_eq!(code, 0, "{err}");
            }
        }
        let mut program = Program::start(&["up"], &env);
        let address = program.address();
        let browser = Browser::start();
        browser.goto(&format!("http://{address}/"));
        Self { browser, address, program, env, _folder: folder }
    }

    /// A browser at the first gateway of a site, which has bruno and the group Pagamentos now, too.
    pub fn at_site(site: &mut crate::production::Site) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bruno =
            json!({"type": "user", "id": 23, "username": "bruno", "name": "Bruno Martins", "email": ""});
        let group = json!({"type": "user_group", "id": 24, "name": "Pagamentos", "members": [23]});
        let path = crate::process::file(&folder, "more.jsonl", &format!("{bruno}\n{group}\n"));
        let (code, _, err) = crate::process::run(&["import", path.to_str().expect("a path")], &site.env);
        assert_eq!(code, 0, "{err}");
        let (program, address) = (site.serve.remove(0), site.addresses[0].clone());
        let browser = Browser::start();
        browser.goto(&format!("http://{address}/"));
        Self { browser, address, program, env: site.env.clone(), _folder: folder }
    }

    /// Goes to a view by its address, as a bookmark does.
    pub fn at(&self, view: &str) {
        self.browser.goto(&format!("http://{}/#/{view}", self.address));
    }

    /// Asks the API as a person, past the page.
    pub fn api(&self, method: &str, person: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = http(method, &self.address, &format!("/api/v1{path}"), person, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Changes the database behind the program's back. It takes its turn among the program's transactions as another
    /// process of ours would, because SQLite's own waiting may never find a gap between them.
    pub fn sql(&self, sql: &str) {
        use diesel::connection::{Connection as _, SimpleConnection as _};
        let (_, url) = self.env.iter().find(|(name, _)| name.ends_with("DATABASE__URL")).expect("a database");
        let path = url.strip_prefix("sqlite://").expect("a file");
        let mut conn = diesel::SqliteConnection::establish(path).expect("a connection");
        let began = Instant::now();
        while let Err(error) = conn.batch_execute("BEGIN IMMEDIATE") {
            assert!(error.to_string().contains("database is locked"), "BEGIN IMMEDIATE: {error}");
            assert!(began.elapsed() < Duration::from_secs(120), "no turn to write in 120 s");
            std::thread::sleep(Duration::from_micros(200));
        }
        conn.batch_execute(&format!("{sql}; COMMIT")).expect("sql");
    }

    /// The person's only notice, as the API tells it.
    pub fn notice(&self, person: &str) -> Value {
        self.browser.wait("a notice", 30, || {
            self.api("GET", person, "/notices", None)["items"].as_array()?.first().cloned()
        })
    }

    /// Becomes another person, by the page's chooser.
    pub fn become_person(&self, name: &str) {
        let chooser = self.browser.by_role("combobox", "Pessoa (demonstração)");
        chooser.by_role_containing("option", name).click();
    }

    pub fn tick(&self, secret: &str) {
        self.browser.by_role("checkbox", &format!("Selecionar {secret}")).click();
    }

    /// Goes to it without a mouse.
    pub fn tab_to(&self, role: &str, name: &str) {
        for _ in 0..80 {
            let focused = self.browser.focused();
            if focused.role() == role && focused.name() == name {
                return;
            }
            self.browser.press("Tab");
        }
        panic!("no way to the {role} '{name}' by Tab");
    }

    /// Empties a field as a person does.
    pub fn empty(&self, field: &Element) {
        field.click();
        self.browser.press("Control+a");
        self.browser.press("Delete");
    }

    /// Types into the list's search and waits until the list has been looked through.
    pub fn search(&self, text: &str, first: &str) {
        let search = self.browser.by_role("searchbox", SEARCH);
        self.empty(&search);
        search.type_text(text);
        self.browser.wait("the list", 10, || {
            let links = self.browser.names("link");
            links
                .iter()
                .find(|name| name.contains(" – ") || name.starts_with("API"))?
                .contains(first)
                .then_some(())
        });
    }

    /// From the selection to the share window.
    pub fn open_share(&self, words: &Words) -> Element {
        self.browser.by_role("button", words.share).click();
        self.browser.by_role("button", words.yes).click();
        self.browser.by_role_containing("dialog", words.share)
    }

    /// Finds a recipient in the share window and chooses it.
    pub fn choose(&self, window: &Element, words: &Words, search: &str, name: &str) {
        let people = window.by_role("searchbox", words.search_people);
        self.empty(&people);
        people.type_text(search);
        window.by_role_containing("button", name).click();
        window.by_role_containing("group", name);
    }

    /// Sends, and is free.
    pub fn send(&self, window: &Element, words: &Words) {
        window.by_role("button", words.share).click();
        self.browser
            .wait("the window to close", 5, || self.browser.all_by_role("dialog").is_empty().then_some(()));
    }

    /// Waits until the region of notices says this.
    pub fn told(&self, words: &Words, text: &str) {
        self.browser.wait(&format!("'{text}' in {}", words.notices), 30, || {
            self.browser.by_role("region", words.notices).text().contains(text).then_some(())
        });
    }

    /// Nothing to complain about on the console. Refused requests that a test made on purpose are named.
    pub fn quiet(&self, expected: &[&str]) {
        let all = self.browser.console();
        let others: Vec<&String> =
            all.iter().filter(|line| !expected.iter().any(|part| line.contains(part))).collect();
        assert!(others.is_empty(), "{others:#?}");
    }
}

/// A company of ana with `secrets` secrets from 1001 on, and bruno.
pub fn company(secrets: i64) -> String {
    let mut lines = String::new();
    let mut add = |line: Value| lines.push_str(&format!("{line}\n"));
    for (id, username, name) in
        [(1, "ana", "Ana Souza"), (2, "bruno", "Bruno Martins"), (3, "eva", "Eva Lima")]
    {
        add(json!({"type": "user", "id": id, "username": username, "name": name,
                   "email": format!("{username}@empresa.example")}));
    }
    for id in 1_001..=1_000 + secrets {
        add(
            json!({"type": "secret", "id": id, "owner": 1, "name": format!("API {id}"), "url": "https://a.example",
                   "client_id": format!("ci_{id}"), "tags": ["prod"]}),
        );
    }
    lines
}
