//! What a share would do: the plans of its chunks, added up as the report of a job adds them up.

use std::collections::BTreeMap;

use crate::domain::event::{REJECTIONS_IN_EVENT, Rejection, Subject};
use crate::domain::job::Counts;
use crate::domain::plan::ChunkPlan;
use crate::domain::share::Recipient;

/// What a share would do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharePreview {
    /// `None` if there was no time to find out which secrets "all" are.
    pub secrets: Option<u64>,
    pub recipients: u64,
    pub counts: Counts,
    /// The first lines of the report, as many as an event of the job would have.
    pub rejections: Vec<Rejection>,
    pub rejections_total: u64,
    /// Who would have access. `None` if there was no time to count them.
    pub people: Option<People>,
    /// Whether everything was looked at. If there was no time for it, the counts are those of the pairs that were looked
    /// at, so each of them may be higher.
    pub exact: bool,
}

impl SharePreview {
    /// Secrets times recipients.
    #[must_use]
    pub fn pairs(&self) -> Option<u64> {
        self.secrets.map(|secrets| secrets.saturating_mul(self.recipients))
    }
}

/// The sum of the chunks that were looked at so far. No two of them have a secret in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foresight {
    pub counts: Counts,
    /// Whether any of the secrets may be shared.
    gives: bool,
    /// The first lines about secrets, as many as a report begins with.
    secrets: Vec<Rejection>,
    secrets_total: u64,
    recipients: BTreeMap<Subject, Rejection>,
}

/// How many people would have access through the recipients of a share. Only people who may act are counted, since
/// nobody else has access through anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct People {
    /// Those who are recipients themselves.
    pub direct: u64,
    /// Those who are members of a group that is a recipient, each counted once.
    pub through_groups: u64,
    /// All of them together, each counted once.
    pub distinct: u64,
}

impl Foresight {
    /// Adds a chunk whose pairs would come out like this. Chunks come in the order of their secrets.
    pub fn add(&mut self, plan: &ChunkPlan, counts: Counts) {
        self.counts = self.counts + counts;
        self.gives |= !plan.secrets.is_empty();
        for line in &plan.rejections {
            if let Subject::Secret(_) = line.subject {
                self.secrets_total += 1;
                if self.secrets.len() < REJECTIONS_IN_EVENT {
                    self.secrets.push(*line);
                }
            } else {
                let none = Rejection { pairs: 0, ..*line };
                self.recipients.entry(line.subject).or_insert(none).pairs += line.pairs;
            }
        }
    }

    /// The first lines of the report: secrets by id, then recipients by kind and id.
    #[must_use]
    pub fn first_rejections(&self) -> Vec<Rejection> {
        self.secrets.iter().chain(self.recipients.values()).take(REJECTIONS_IN_EVENT).copied().collect()
    }

    /// The number of all lines of the report.
    #[must_use]
    pub fn rejections_total(&self) -> u64 {
        self.secrets_total + self.recipients.len() as u64
    }

    /// The recipients who would have access to any of the secrets.
    pub fn reached<'a>(&self, recipients: &'a [Recipient]) -> impl Iterator<Item = &'a Recipient> {
        let refused = |of: &Recipient| self.recipients.contains_key(&Subject::Recipient(of.kind, of.id));
        recipients.iter().filter(move |of| self.gives && !refused(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::{Permission, PrincipalKind, RejectReason};
    use crate::domain::{PrincipalId, SecretId};

    fn secret(id: i64) -> SecretId {
        SecretId::new(id).expect("an id")
    }

    fn of_secret(id: i64) -> Rejection {
        Rejection { subject: Subject::Secret(secret(id)), reason: RejectReason::NotFound, pairs: 2 }
    }

    fn of_user(id: i64, pairs: u64) -> Rejection {
        let id = PrincipalId::new(id).expect("an id");
        let subject = Subject::Recipient(PrincipalKind::User, id);
        Rejection { subject, reason: RejectReason::Inactive, pairs }
    }

    fn recipient(kind: PrincipalKind, id: i64) -> Recipient {
        Recipient { kind, id: PrincipalId::new(id).expect("an id"), permission: Permission::View }
    }

    fn plan(secrets: &[i64], rejections: Vec<Rejection>) -> ChunkPlan {
        let secrets = secrets.iter().map(|id| secret(*id)).collect();
        ChunkPlan { secrets, rejections, ..ChunkPlan::default() }
    }

    #[test]
    fn a_line_about_a_recipient_is_one_however_many_chunks_it_was_in() {
        let mut sum = Foresight::default();
        sum.add(&plan(&[1, 2], vec![of_user(7, 2)]), Counts { granted: 2, rejected: 2, ..Counts::default() });
        sum.add(&plan(&[], vec![of_secret(3), of_user(7, 0)]), Counts { rejected: 2, ..Counts::default() });
        assert_eq!(sum.counts, Counts { granted: 2, rejected: 4, ..Counts::default() });
        assert_eq!((sum.first_rejections(), sum.rejections_total()), (vec![of_secret(3), of_user(7, 2)], 2));
    }

    #[test]
    fn a_report_begins_with_a_hundred_lines_and_counts_all() {
        let mut sum = Foresight::default();
        for chunk in 0..3 {
            let lines = (1..=60).map(|id| of_secret(chunk * 60 + id)).chain([of_user(7, 0)]).collect();
            sum.add(&plan(&[], lines), Counts::default());
        }
        let first = sum.first_rejections();
        assert_eq!((first.len(), sum.rejections_total()), (REJECTIONS_IN_EVENT, 181));
        assert!(first.is_sorted() && first.iter().all(|line| matches!(line.subject, Subject::Secret(_))));
    }

    #[test]
    fn whoever_is_refused_is_not_reached_and_nobody_is_by_secrets_that_are() {
        let to = [recipient(PrincipalKind::User, 7), recipient(PrincipalKind::UserGroup, 7)];
        let mut sum = Foresight::default();
        sum.add(&plan(&[], vec![of_secret(1), of_user(7, 0)]), Counts::default());
        assert_eq!(sum.reached(&to).count(), 0);
        sum.add(&plan(&[2], vec![of_user(7, 1)]), Counts::default());
        assert_eq!(sum.reached(&to).collect::<Vec<_>>(), [&to[1]]);
    }
}
