//! A naive model of who has what, pair by pair: each pair has the highest permission that a job which is not undone
//! asked for since the pair was last taken away. It knows no rows, no claims and no times.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::domain::{JobId, Permission};

/// A secret and a recipient.
pub type Pair = (i64, i64);

#[derive(Debug, Default)]
pub struct Wishes {
    asked: BTreeMap<Pair, Vec<(JobId, Permission)>>,
    undone: BTreeSet<JobId>,
}

impl Wishes {
    /// A job asked for a permission, whether it gave it or found it there.
    pub fn share(&mut self, job: JobId, pair: Pair, permission: Permission) {
        self.asked.entry(pair).or_default().push((job, permission));
    }

    /// Everything was taken away, whoever gave it.
    pub fn take(&mut self, pair: Pair) {
        self.asked.remove(&pair);
    }

    /// Edit was taken away, and view stays. It says what rows do as long as edit never came over the view of another
    /// job: a row that is lowered keeps the job that gave its view, and no other.
    pub fn lower(&mut self, pair: Pair) {
        for (_, permission) in self.asked.entry(pair).or_default() {
            *permission = Permission::View;
        }
    }

    pub fn undo(&mut self, job: JobId) {
        self.undone.insert(job);
    }

    /// The permission of each pair that has one, as the database stores it.
    pub fn expected(&self) -> BTreeMap<Pair, i16> {
        let live = |asked: &Vec<(JobId, Permission)>| {
            asked.iter().filter(|(job, _)| !self.undone.contains(job)).map(|(_, of)| of.code()).max()
        };
        self.asked.iter().filter_map(|(pair, asked)| Some((*pair, live(asked)?))).collect()
    }
}
