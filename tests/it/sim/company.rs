//! The reference of the simulation: a company in memory, and what sharing and unsharing do to it, written as simply as
//! possible. It keeps what was asked for on each pair, from which one reads what an undo may leave.

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
    /// Access is taken away, in place of given: everything by a level of 1, and edit by one of 2.
    pub takes: bool,
}

/// The counts of a job: granted, upgraded, unchanged, rejected. Those of a job that takes away are revoked, lowered, kept
/// or untouched, rejected.
pub type Counts = [i64; 4];

/// What a job has asked for on a pair, and what is left of that after others have taken access away.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The key of the job, or 0 for nobody's.
    pub job: i64,
    pub level: Level,
    /// False: it may be gone. Whoever gave edit over the view of another is forgotten when the edit is taken away.
    pub sure: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Company {
    pub principals: BTreeMap<Id, Principal>,
    pub secrets: BTreeMap<Id, Secret>,
    pub grants: BTreeMap<(Id, Id), Level>,
    /// What was asked for on each pair since everything was last taken away from it.
    pub asked: BTreeMap<(Id, Id), Vec<Asked>>,
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
        for (pair, level) in [((102, 10), 2), ((104, 2), 2), ((101, 1), 2), ((103, 1), 1), ((106, 4), 1)] {
            company.give(pair, level);
        }
        company
    }

    /// Nobody's job gives access to a pair that has none.
    pub fn give(&mut self, pair: (Id, Id), level: Level) {
        self.grants.insert(pair, level);
        self.asked.insert(pair, vec![Asked { job: 0, level, sure: true }]);
    }

    /// Somebody takes a grant away by hand.
    pub fn take(&mut self, pair: (Id, Id)) {
        self.grants.remove(&pair);
        self.asked.remove(&pair);
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
        self.may_edit(requester, secret) && self.secrets.get(&secret).is_some_and(|found| !found.disabled)
    }

    /// Whether this person may take access to a secret away.
    pub fn may_edit(&self, requester: Id, secret: Id) -> bool {
        let Some(found) = self.secrets.get(&secret) else { return false };
        let acts_as = |id: Id| {
            id == requester
                || self
                    .principals
                    .get(&id)
                    .is_some_and(|p| p.group && p.active && p.members.contains(&requester))
        };
        let by_grant = self.grants.iter().any(|((s, p), level)| *s == secret && *level == 2 && acts_as(*p));
        found.owner == requester || by_grant
    }

    fn may_receive(&self, recipient: Id) -> bool {
        self.principals.get(&recipient).is_some_and(|p| p.active && (p.group || p.account))
    }

    /// Does to these secrets what the request of this job says, and returns what became of the pairs.
    pub fn apply(&mut self, job: i64, wish: &Wish, secrets: &[Id]) -> Counts {
        if wish.takes { self.unshare(wish, secrets) } else { self.share(job, wish, secrets) }
    }

    fn unshare(&mut self, wish: &Wish, secrets: &[Id]) -> Counts {
        let allowed: Vec<bool> =
            secrets.iter().map(|secret| self.may_edit(wish.requester, *secret)).collect();
        let mut counts = [0; 4];
        for (secret, allowed) in secrets.iter().zip(allowed) {
            for (recipient, level) in &wish.recipients {
                let pair = (*secret, *recipient);
                let owns = self.secrets.get(secret).is_some_and(|found| found.owner == *recipient);
                let has = self.grants.get(&pair).copied().unwrap_or(0);
                let outcome = if !allowed {
                    3
                } else if owns || has < *level {
                    2
                } else if *level == 1 {
                    self.take(pair);
                    0
                } else {
                    self.lower(pair);
                    1
                };
                counts[outcome] += 1;
            }
        }
        counts
    }

    fn lower(&mut self, pair: (Id, Id)) {
        self.grants.insert(pair, 1);
        let asked = self.asked.entry(pair).or_default();
        let over_view = asked.iter().any(|of| of.level == 1);
        for of in asked.iter_mut().filter(|of| of.level == 2) {
            of.sure &= !over_view;
            of.level = 1;
        }
    }

    fn share(&mut self, job: i64, wish: &Wish, secrets: &[Id]) -> Counts {
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
                if outcome < 2 || outcome == 2 && before.is_some() {
                    let asked = Asked { job, level: *level, sure: true };
                    self.asked.entry((*secret, *recipient)).or_default().push(asked);
                }
                counts[outcome] += 1;
            }
        }
        counts
    }
}
