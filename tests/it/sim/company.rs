//! The reference of the simulation: a company in memory, and what sharing does to it, written as simply as possible.

use std::collections::{BTreeMap, BTreeSet};

pub type Id = i64;

/// A permission: 1 is view, 2 is edit.
pub type Level = i64;

#[derive(Clone, Debug)]
pub struct Principal {
    pub group: bool,
    pub active: bool,
    pub account: bool,
    pub members: BTreeSet<Id>,
}

#[derive(Clone, Debug)]
pub struct Secret {
    pub owner: Id,
    pub disabled: bool,
}

/// A request that somebody made.
#[derive(Clone, Debug)]
pub struct Wish {
    pub requester: Id,
    /// The ids are in ascending order.
    pub secrets: Vec<Id>,
    pub recipients: Vec<(Id, Level)>,
}

/// The counts of a job: granted, upgraded, unchanged, rejected.
pub type Counts = [i64; 4];

#[derive(Clone, Debug, Default)]
pub struct Company {
    pub principals: BTreeMap<Id, Principal>,
    pub secrets: BTreeMap<Id, Secret>,
    pub grants: BTreeMap<(Id, Id), Level>,
}

pub const REQUESTERS: [Id; 2] = [1, 2];
pub const USERS: std::ops::RangeInclusive<Id> = 1..=6;
pub const GROUPS: [Id; 2] = [10, 11];
pub const SECRETS: std::ops::RangeInclusive<Id> = 101..=112;

impl Company {
    /// Six people, two groups, twelve secrets of two owners; the second owner may share some of the
    /// first's through a group, and some by a grant of his own.
    pub fn new() -> Self {
        let mut company = Self::default();
        let person = Principal { group: false, active: true, account: true, members: BTreeSet::new() };
        for id in USERS {
            company.principals.insert(id, Principal { account: id != 6, ..person.clone() });
        }
        for (id, members) in GROUPS.into_iter().zip([[2, 3], [4, 5]]) {
            let members = BTreeSet::from(members);
            company
                .principals
                .insert(id, Principal { group: true, account: false, members, ..person.clone() });
        }
        for id in SECRETS {
            company.secrets.insert(id, Secret { owner: 1 + id % 2, disabled: id == 112 });
        }
        company.grants.extend([((102, 10), 2), ((104, 2), 2), ((101, 1), 2), ((103, 1), 1), ((106, 4), 1)]);
        company
    }

    /// The statements that put this company into a database.
    pub fn sql(&self) -> String {
        let mut sql = String::new();
        for (id, p) in &self.principals {
            let (kind, username) = if p.group { (2, "NULL".to_owned()) } else { (1, format!("'user{id}'")) };
            sql += &format!(
                "INSERT INTO principals (id, kind, name, active, username, email, has_account, visible_to_members, \
                 search_text) VALUES ({id}, {kind}, 'n{id}', {}, {username}, NULL, {}, false, '');",
                p.active, p.account
            );
            for member in &p.members {
                sql += &format!("INSERT INTO members (group_id, user_id) VALUES ({id}, {member});");
            }
        }
        for (id, secret) in &self.secrets {
            sql += &format!(
                "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, \
                 updated_at) VALUES ({id}, {}, 'n', 'u', 'c', 'GET', '', {}, '', 0);",
                secret.owner, secret.disabled
            );
        }
        for ((secret, principal), level) in &self.grants {
            sql += &format!(
                "INSERT INTO grants (secret_id, principal_id, permission, granted_at) \
                 VALUES ({secret}, {principal}, {level}, 0);"
            );
        }
        sql
    }

    pub fn may_ask(&self, requester: Id) -> bool {
        self.principals.get(&requester).is_some_and(|p| !p.group && p.active && p.account)
    }

    fn may_share(&self, requester: Id, secret: Id) -> bool {
        let Some(found) = self.secrets.get(&secret) else { return false };
        let acts_as = |id: Id| {
            id == requester
                || self
                    .principals
                    .get(&id)
                    .is_some_and(|p| p.group && p.active && p.members.contains(&requester))
        };
        let by_grant = self.grants.iter().any(|((s, p), level)| *s == secret && *level == 2 && acts_as(*p));
        !found.disabled && (found.owner == requester || by_grant)
    }

    fn may_receive(&self, recipient: Id) -> bool {
        self.principals.get(&recipient).is_some_and(|p| p.active && (p.group || p.account))
    }

    /// Shares these secrets as the request says, and returns what became of the pairs.
    pub fn share(&mut self, wish: &Wish, secrets: &[Id]) -> Counts {
        let allowed: Vec<bool> =
            secrets.iter().map(|secret| self.may_share(wish.requester, *secret)).collect();
        let mut counts = [0; 4];
        for (secret, allowed) in secrets.iter().zip(allowed) {
            for (recipient, level) in &wish.recipients {
                let before = self.grants.get(&(*secret, *recipient)).copied();
                let outcome = if !allowed || !self.may_receive(*recipient) {
                    3
                } else if self.secrets.get(secret).is_some_and(|found| found.owner == *recipient) {
                    2
                } else {
                    match before {
                        None => 0,
                        Some(has) if has < *level => 1,
                        Some(_) => 2,
                    }
                };
                if outcome < 2 {
                    self.grants.insert((*secret, *recipient), *level);
                }
                counts[outcome] += 1;
            }
        }
        counts
    }
}
