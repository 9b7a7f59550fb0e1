//! What an undo may do. The reference knows no rows, no claims and no times, so it does not know which of several jobs
//! stands in a row. It knows what was asked for on each pair, and holds the database between two bounds: nobody loses what
//! a job asked for that nobody has ever undone, and what is left was asked for by a job that is not undone there. When no
//! undo is under way, and none has ended halfway, the two bounds are the same.

use std::collections::BTreeSet;

use serde_json::Value;

use super::company::{Counts, Id, Wish};
use super::watch::{Grants, Watch, Wrong};

/// An undo, from the moment on in which it is there.
#[derive(Clone, Debug)]
pub struct Undo {
    /// The key of the job that it undoes.
    pub parent: i64,
    /// Why it has failed at once.
    pub refused: Option<&'static str>,
    /// The secrets from which it has taken back what its parent gave.
    passed: BTreeSet<Id>,
}

impl Watch {
    /// Looks at an undo for the first time: whether it may be there, and what it is about.
    pub fn undo_begins(&mut self, key: i64, row: &Value) -> Result<Wish, Wrong> {
        let asked = [&row[2], &row[1]].into_iter().find_map(|name| self.to_undo.get(name.as_str()?));
        let asked = asked.ok_or_else(|| format!("nobody asked for the undo {row}"))?;
        let parent = self.key_of(asked).filter(|_| row[9] == asked.as_str());
        let parent = parent.ok_or_else(|| format!("{row} should undo {asked}"))?;
        let refused = self.refusal(parent);
        if (row[3] == "failed") != refused.is_some() {
            return Err(format!("{row}: it should be refused: {refused:?}"));
        }
        self.undos.insert(key, Undo { parent, refused, passed: BTreeSet::new() });
        self.jobs[&parent].wish.clone().ok_or_else(|| format!("{row} has a parent without a wish"))
    }

    /// Why this job cannot be undone now.
    pub fn refusal(&self, parent: i64) -> Option<&'static str> {
        let job = &self.jobs[&parent];
        let [granted, upgraded, unchanged, _] = job.counts;
        if job.kind() != "share" {
            Some("not_undoable")
        } else if !job.ended {
            Some("job_not_ended")
        } else if granted + upgraded + unchanged == 0 {
            Some("nothing_to_undo")
        } else if self
            .undos_of(parent)
            .any(|undo| matches!(self.state(undo).as_str(), "running" | "retrying" | "completed"))
        {
            Some("already_undone")
        } else {
            None
        }
    }

    /// The keys of the undos of a job that have begun.
    fn undos_of(&self, parent: i64) -> impl Iterator<Item = i64> + '_ {
        let begun = move |(_, undo): &(&i64, &Undo)| undo.parent == parent && undo.refused.is_none();
        self.undos.iter().filter(begun).map(|(key, _)| *key)
    }

    /// The state of a job. One that is seen for the first time now is taken for running.
    fn state(&self, key: i64) -> String {
        self.jobs.get(&key).map_or_else(|| "running".to_owned(), |job| job.state())
    }

    /// An undo has done these secrets. Only pairs on which its parent asked for something may have changed, and they have
    /// not more than before.
    pub fn undo_chunk(
        &mut self,
        key: i64,
        wish: &Wish,
        secrets: &[Id],
        grants: &Grants,
    ) -> Result<Counts, Wrong> {
        let allowed: Vec<bool> =
            secrets.iter().map(|secret| self.company.may_edit(wish.requester, *secret)).collect();
        let mut counts = [0; 4];
        let parent = self.undos[&key].parent;
        for (secret, allowed) in secrets.iter().zip(allowed) {
            for (recipient, _) in &wish.recipients {
                let pair = (*secret, *recipient);
                let before = self.company.grants.get(&pair).copied().unwrap_or(0);
                let asked = self.company.asked.get(&pair);
                let asked = asked.is_some_and(|asked| asked.iter().any(|of| of.job == parent));
                let now = if allowed && asked { grants.get(&pair).copied().unwrap_or(0) } else { before };
                let outcome = match (allowed, before, now) {
                    (false, ..) => 3,
                    (true, 1 | 2, 0) => 0,
                    (true, 2, 1) => 1,
                    (true, before, now) if before == now => 2,
                    _ => return Err(format!("an undo raised {pair:?} from {before} to {now}")),
                };
                match now {
                    0 => drop(self.company.grants.remove(&pair)),
                    level => drop(self.company.grants.insert(pair, level)),
                }
                counts[outcome] += 1;
            }
            if allowed {
                self.undos.get_mut(&key).ok_or("no undo")?.passed.insert(*secret);
            }
        }
        Ok(counts)
    }

    /// Nobody has lost what a job asked for that was never to be undone, and nobody has what only undone jobs asked for.
    pub fn grants_are_within_bounds(&self) -> Result<(), Wrong> {
        for (pair, asked) in &self.company.asked {
            let has = self.company.grants.get(pair).copied().unwrap_or(0);
            let stands = |job: i64| self.undos_of(job).next().is_none();
            let may_stand = |job: i64| {
                let undone = |undo: i64| {
                    !matches!(self.state(undo).as_str(), "failed" | "cancelled")
                        && self.undos[&undo].passed.contains(&pair.0)
                };
                !self.undos_of(job).any(undone)
            };
            let sure = asked.iter().filter(|of| of.sure && stands(of.job)).map(|of| of.level).max();
            let most = asked.iter().filter(|of| may_stand(of.job)).map(|of| of.level).max();
            if has < sure.unwrap_or(0) || has > most.unwrap_or(0) {
                return Err(format!(
                    "{pair:?} has {has}, and should have {sure:?} at least and {most:?} at most: {asked:?}, {:?}",
                    self.undos
                ));
            }
        }
        let stray = self.company.grants.keys().find(|pair| !self.company.asked.contains_key(*pair));
        stray.map_or(Ok(()), |pair| Err(format!("nobody asked for {pair:?}")))
    }
}
