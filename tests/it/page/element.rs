//! Something on the page, and how it was found: when the page draws itself anew in between, it is
//! found again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::session::{ELEMENT, Node, PATIENCE, Refusal, Session};

#[derive(Clone)]
pub struct Element {
    session: Arc<Session>,
    /// WebDriver's id; another one after it was found again.
    id: Arc<Mutex<String>>,
    /// `None` for one of many: it cannot be told from the others when it is gone.
    found: Option<Arc<Found>>,
}

/// How something is looked for.
pub struct Found {
    within: Option<Element>,
    role: String,
    name: Name,
}

pub enum Name {
    Is(String),
    Has(String),
    Any,
}

/// Where something stands, in CSS pixels from the top left of the page.
#[derive(Debug, Clone, Copy)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Found {
    pub fn new(within: Option<Element>, role: &str, name: Name) -> Self {
        Self { within, role: role.to_owned(), name }
    }

    fn describe(&self) -> String {
        let what = match &self.name {
            Name::Is(name) => format!("{} '{name}'", self.role),
            Name::Has(name) => format!("{} with '{name}' in its name", self.role),
            Name::Any => self.role.clone(),
        };
        let within = self.within.as_ref().and_then(|within| within.found.as_ref());
        within.map_or(what.clone(), |within| format!("{what} within {}", within.describe()))
    }

    fn look(&self, session: &Session) -> Result<Vec<Node>, Refusal> {
        let scope = self.within.as_ref().map(Element::attached).transpose()?;
        let exact = if let Name::Is(name) = &self.name { Some(name.as_str()) } else { None };
        let mut nodes = session.nodes(scope.as_deref(), &self.role, exact)?;
        if let Name::Has(part) = &self.name {
            nodes.retain(|node| node.name.contains(part));
        }
        Ok(nodes)
    }

    /// The id of the one that matches, waited for.
    fn id(&self, session: &Session) -> String {
        session.wait(&self.describe(), PATIENCE, || {
            let mut nodes = self.look(session).ok()?;
            session.note(&format!("there were {} of it", nodes.len()));
            if nodes.len() == 1 { nodes.pop().map(|node| node.id) } else { None }
        })
    }

    pub fn one(self, session: &Arc<Session>) -> Element {
        let id = self.id(session);
        Element::of(session, id, Some(Arc::new(self)))
    }

    fn now(&self, session: &Session) -> Vec<Node> {
        session.wait(&format!("all of {}", self.describe()), PATIENCE, || self.look(session).ok())
    }

    pub fn all(&self, session: &Arc<Session>) -> Vec<Element> {
        self.now(session).into_iter().map(|node| Element::of(session, node.id, None)).collect()
    }

    pub fn names(&self, session: &Session) -> Vec<String> {
        self.now(session).into_iter().map(|node| node.name).collect()
    }
}

impl Element {
    pub(super) fn of(session: &Arc<Session>, id: String, found: Option<Arc<Found>>) -> Self {
        Self { session: Arc::clone(session), id: Arc::new(Mutex::new(id)), found }
    }

    fn current(&self) -> String {
        self.id.lock().expect("an id").clone()
    }

    fn describe(&self) -> String {
        self.found.as_ref().map_or("an element".to_owned(), |found| found.describe())
    }

    /// For the arguments of a script.
    pub fn argument(&self) -> Value {
        json!({ ELEMENT: self.current() })
    }

    /// Its id, found again if it left the page.
    fn attached(&self) -> Result<String, Refusal> {
        let id = self.current();
        match self.session.attempt("GET", &format!("/element/{id}/name"), None) {
            Err(refusal) if is_gone(&refusal) && self.found.is_some() => {
                let mut nodes = self.found.as_ref().expect("how it was found").look(&self.session)?;
                match nodes.pop() {
                    Some(node) if nodes.is_empty() => {
                        node.id.clone_into(&mut self.id.lock().expect("an id"));
                        Ok(node.id)
                    }
                    _ => Err(refusal),
                }
            }
            answer => answer.map(|_| id),
        }
    }

    /// A command; one that the page does not let through yet is tried again.
    fn ask(&self, method: &str, command: &str, body: Option<&Value>) -> Value {
        let end = Instant::now() + Duration::from_secs(PATIENCE);
        loop {
            let path = format!("/element/{}/{command}", self.current());
            let refusal = match self.session.attempt(method, &path, body) {
                Ok(value) => return value,
                Err(refusal) => refusal,
            };
            if let Some(found) = self.found.as_ref().filter(|_| is_gone(&refusal)) {
                *self.id.lock().expect("an id") = found.id(&self.session);
            } else if !is_in_the_way(&refusal) || Instant::now() >= end {
                self.session.fail(&format!(
                    "{command} of {}: {}: {}",
                    self.describe(),
                    refusal.kind,
                    refusal.message
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn string(&self, command: &str) -> String {
        self.ask("GET", command, None).as_str().unwrap_or_default().to_owned()
    }

    // ---- What a person does --------------------------------------------------------------------

    /// Clicks, once it is enabled and nothing lies over it.
    pub fn click(&self) {
        self.session
            .wait(&format!("{}, enabled", self.describe()), PATIENCE, || self.is_enabled().then_some(()));
        self.ask("POST", "click", Some(&json!({})));
    }

    /// Focuses it and types.
    pub fn type_text(&self, text: &str) {
        self.ask("POST", "value", Some(&json!({ "text": text })));
    }

    /// Empties a field.
    pub fn clear(&self) {
        self.ask("POST", "clear", Some(&json!({})));
    }

    /// Chooses an option of a combobox.
    pub fn choose(&self, option: &str) {
        self.by_role("option", option).click();
    }

    // ---- What it is ----------------------------------------------------------------------------

    /// Its role in the accessibility tree.
    pub fn role(&self) -> String {
        self.string("computedrole")
    }

    /// Its accessible name.
    pub fn name(&self) -> String {
        self.string("computedlabel")
    }

    /// Its visible text.
    pub fn text(&self) -> String {
        self.string("text")
    }

    pub fn attribute(&self, name: &str) -> Option<String> {
        self.ask("GET", &format!("attribute/{name}"), None).as_str().map(str::to_owned)
    }

    pub fn property(&self, name: &str) -> Value {
        self.ask("GET", &format!("property/{name}"), None)
    }

    pub fn is_checked(&self) -> bool {
        self.ask("GET", "selected", None) == true
    }

    pub fn is_enabled(&self) -> bool {
        self.ask("GET", "enabled", None) == true
    }

    pub fn is_focused(&self) -> bool {
        self.session.get("/element/active")[ELEMENT].as_str() == Some(&self.current())
    }

    pub fn rect(&self) -> Rect {
        let rect = self.ask("GET", "rect", None);
        let side = |name: &str| rect[name].as_f64().expect("a number");
        Rect { x: side("x"), y: side("y"), width: side("width"), height: side("height") }
    }

    // ---- Within it -----------------------------------------------------------------------------

    /// The one below it with this role and this accessible name; waits for it.
    pub fn by_role(&self, role: &str, name: &str) -> Self {
        Found::new(Some(self.clone()), role, Name::Is(name.to_owned())).one(&self.session)
    }

    /// The one below it whose accessible name has this in it.
    pub fn by_role_containing(&self, role: &str, name: &str) -> Self {
        Found::new(Some(self.clone()), role, Name::Has(name.to_owned())).one(&self.session)
    }

    /// All below it with this role, as they are now.
    pub fn all_by_role(&self, role: &str) -> Vec<Self> {
        Found::new(Some(self.clone()), role, Name::Any).all(&self.session)
    }

    /// The one below it with this role and name if it is there now.
    pub fn maybe_by_role(&self, role: &str, name: &str) -> Option<Self> {
        Found::new(Some(self.clone()), role, Name::Is(name.to_owned())).all(&self.session).pop()
    }
}

/// The page threw the element away.
fn is_gone(refusal: &Refusal) -> bool {
    refusal.kind == "stale element reference" || refusal.kind == "no such element"
}

/// What may pass: something lies over it, or it is about to move or to appear.
fn is_in_the_way(refusal: &Refusal) -> bool {
    refusal.kind == "element click intercepted" || refusal.kind == "element not interactable"
}
