//! People, groups, secrets and grants for tests, written straight into the tables.

use std::fmt::Write as _;

use batchshare::domain::Permission;
use batchshare::domain::text::{fold, group_search_text, person_search_text, secret_search_text};

use crate::support::TestDb;

/// Collects rows; [`Fixture::load`] writes them in one transaction.
///
/// Everything is as it mostly is: users are active and have an account, groups are active, personal
/// groups are hidden from their members, secrets are enabled. Methods further down change that.
#[derive(Default)]
#[must_use]
pub struct Fixture {
    sql: String,
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

impl Fixture {
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self.sql.push(';');
        self
    }

    /// A user whose name is the username and whose e-mail is `username@example.com`.
    pub fn user(self, id: i64, username: &str) -> Self {
        self.person(id, username, username, &format!("{username}@example.com"))
    }

    pub fn person(self, id: i64, username: &str, name: &str, email: &str) -> Self {
        let search = text(&person_search_text(name, username, email));
        let (username, name, email) = (text(username), text(name), text(email));
        self.push(&format!(
            "INSERT INTO principals (id, kind, name, active, username, email, has_account, owner_id, \
             visible_to_members, search_text) \
             VALUES ({id}, 1, {name}, true, {username}, {email}, true, NULL, false, {search})"
        ))
    }

    pub fn user_group(self, id: i64, name: &str, members: &[i64]) -> Self {
        self.group(id, 2, name, "NULL", members)
    }

    pub fn personal_group(self, id: i64, name: &str, owner: i64, members: &[i64]) -> Self {
        self.group(id, 3, name, &owner.to_string(), members)
    }

    fn group(mut self, id: i64, kind: i16, name: &str, owner: &str, members: &[i64]) -> Self {
        let (search, name) = (text(&group_search_text(name)), text(name));
        self = self.push(&format!(
            "INSERT INTO principals (id, kind, name, active, username, email, has_account, owner_id, \
             visible_to_members, search_text) \
             VALUES ({id}, {kind}, {name}, true, NULL, NULL, false, {owner}, false, {search})"
        ));
        for member in members {
            self = self.push(&format!("INSERT INTO members (group_id, user_id) VALUES ({id}, {member})"));
        }
        self
    }

    /// A secret with the URL `https://<id>.example`, the client ID `ci_<id>` and nothing else.
    pub fn secret(self, id: i64, owner: i64, name: &str) -> Self {
        let url = format!("https://{id}.example");
        let search = text(&secret_search_text(name, None, &url));
        let name = text(name);
        self.push(&format!(
            "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, \
             updated_at) VALUES ({id}, {owner}, {name}, '{url}', 'ci_{id}', 'GET', '', false, {search}, 0)"
        ))
    }

    /// Many secrets of one owner, named `secret <id>`.
    pub fn secrets(mut self, owner: i64, ids: impl IntoIterator<Item = i64>) -> Self {
        for id in ids {
            self = self.secret(id, owner, &format!("secret {id}"));
        }
        self
    }

    /// Gives a secret its identifier and puts that into the searched text.
    pub fn identifier(self, secret: i64, identifier: &str) -> Self {
        let (folded, identifier) = (text(&fold(identifier)), text(identifier));
        self.push(&format!(
            "UPDATE secrets SET identifier = {identifier}, \
             search_text = replace(search_text, '\n\n', '\n' || {folded} || '\n') WHERE id = {secret}"
        ))
    }

    pub fn tags(mut self, secret: i64, tags: &[&str]) -> Self {
        for tag in tags {
            let tag = text(tag);
            self = self.push(&format!("INSERT INTO secret_tags (secret_id, tag) VALUES ({secret}, {tag})"));
        }
        self
    }

    /// A grant that no job gave.
    pub fn grant(self, secret: i64, principal: i64, permission: Permission) -> Self {
        let code = permission.code();
        self.push(&format!(
            "INSERT INTO grants (secret_id, principal_id, permission, granted_at) \
             VALUES ({secret}, {principal}, {code}, 1000)"
        ))
    }

    pub fn view(self, secret: i64, principal: i64) -> Self {
        self.grant(secret, principal, Permission::View)
    }

    pub fn edit(self, secret: i64, principal: i64) -> Self {
        self.grant(secret, principal, Permission::Edit)
    }

    /// Makes a user or group inactive.
    pub fn inactive(self, principal: i64) -> Self {
        self.push(&format!("UPDATE principals SET active = false WHERE id = {principal}"))
    }

    pub fn no_account(self, user: i64) -> Self {
        self.push(&format!("UPDATE principals SET has_account = false WHERE id = {user}"))
    }

    /// Lets the members of a personal group see it.
    pub fn visible(self, personal_group: i64) -> Self {
        self.push(&format!("UPDATE principals SET visible_to_members = true WHERE id = {personal_group}"))
    }

    pub fn disabled(self, secret: i64) -> Self {
        self.push(&format!("UPDATE secrets SET disabled = true WHERE id = {secret}"))
    }

    /// Anything else.
    pub fn sql(mut self, sql: &str) -> Self {
        let _ = write!(self.sql, "{sql};");
        self
    }

    pub async fn load(self, test: &TestDb) {
        if !self.sql.is_empty() {
            test.sql(&self.sql).await;
        }
    }
}
