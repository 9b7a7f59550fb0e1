//! The rule of undo: what becomes of one grant when a job is undone.
//!
//! After an undo, the permission is what it would be if the job had never run, as far as the wishes of others are
//! known. Others have wished for the access if they gave it, or if they claim it: their job asked for access that was
//! there already, so it gave nothing, and its requester was told "shared".

use crate::domain::access::Standing;
use crate::domain::ids::JobKey;
use crate::domain::permission::Permission;

/// Who gave a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Giver {
    /// No job is known for it, so no undo takes it.
    Nobody,
    Job(JobKey),
}

/// A grant: at least one of `view` and `edit` has a giver, unless the row is older than our jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Who gave the view. `None` if edit came with the row, or if the view was taken back since.
    pub view: Option<Giver>,
    /// Who gave the edit. `None` if the grant is one of view.
    pub edit: Option<Giver>,
    /// When the row came to be, in microseconds since 1970. It stays, whoever is named as the giver later.
    pub granted_at: i64,
    /// When the edit came, in microseconds since 1970. `None` if it came with the row.
    pub edit_at: Option<i64>,
}

/// What a job found granted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub job: JobKey,
    /// When the job found it, in microseconds since 1970.
    pub at: i64,
    pub asked: Permission,
}

/// The jobs that a grant goes to when its giver is undone: the earliest that claim it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heirs {
    view: Option<(i64, JobKey)>,
    edit: Option<(i64, JobKey)>,
}

/// What an undo does to a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// The row is deleted.
    Revoked,
    /// Edit is gone, and the row gives view now.
    Lowered(Given),
    /// The permission stays, and others are named as those who gave it.
    Kept(Given),
    /// The job did not give it, so nothing is changed.
    Untouched,
}

impl Heirs {
    /// Adds a claim on this grant. The order of the calls does not matter. The caller leaves out claims of the job
    /// that is undone, and of other jobs that are undone.
    /// [`Standing::kept_by`] says what a claim of this age keeps.
    pub fn add(&mut self, grant: &Given, claim: &Claim) {
        let permission = if grant.edit.is_some() { Permission::Edit } else { Permission::View };
        let standing = Standing { permission, granted_at: grant.granted_at, edit_at: grant.edit_at };
        let Some(kept) = standing.kept_by(claim.asked, claim.at) else { return };
        let of = Some((claim.at, claim.job));
        self.view = earlier(self.view, of);
        if kept == Permission::Edit {
            self.edit = earlier(self.edit, of);
        }
    }

    /// The heirs of this grant among these claims.
    #[must_use]
    pub fn of<'a>(grant: &Given, claims: impl IntoIterator<Item = &'a Claim>) -> Self {
        let mut heirs = Self::default();
        claims.into_iter().for_each(|claim| heirs.add(grant, claim));
        heirs
    }

    fn view(self) -> Option<Giver> {
        self.view.map(|(_, job)| Giver::Job(job))
    }

    fn edit(self) -> Option<Giver> {
        self.edit.map(|(_, job)| Giver::Job(job))
    }
}

/// Who may stand in for `job` in a grant that an undo keeps: if everybody who reads the row as it was takes this heir for
/// the job, they read it as it is to be. `None` if the row has to be written.
#[must_use]
pub fn stand_in(before: &Given, after: &Given, job: JobKey) -> Option<JobKey> {
    if before.edit.is_some() != after.edit.is_some() {
        return None;
    }
    let of = Some(Giver::Job(job));
    let mut heir = None;
    for (before, after) in [(before.view, after.view), (before.edit, after.edit)] {
        match after {
            _ if before != of && before == after => {}
            Some(Giver::Job(other)) if before == of && heir.is_none_or(|heir| heir == other) => {
                heir = Some(other)
            }
            _ => return None,
        }
    }
    heir
}

/// The claim that came first. Of two at the same time it is the one of the job with the lower key.
fn earlier(a: Option<(i64, JobKey)>, b: Option<(i64, JobKey)>) -> Option<(i64, JobKey)> {
    a.into_iter().chain(b).min()
}

/// Decides what becomes of a grant when `job` is undone. The grant never gives more than it did.
#[must_use]
pub fn undo(grant: Given, job: JobKey, heirs: Heirs) -> Undone {
    let job = Some(Giver::Job(job));
    let gave_view = grant.view == job;
    // If the job gave the view as well, whoever claims it gets that, too.
    let view = if gave_view { heirs.view() } else { grant.view };
    if grant.edit == job {
        if let Some(heir) = heirs.edit() {
            return Undone::Kept(Given { view, edit: Some(heir), ..grant });
        }
        let lowered = |view| Undone::Lowered(Given { view, edit: None, edit_at: None, ..grant });
        return view.or(heirs.view()).map_or(Undone::Revoked, |giver| lowered(Some(giver)));
    }
    match (gave_view, grant.edit, view) {
        (false, ..) => Undone::Untouched,
        (true, None, None) => Undone::Revoked,
        (true, ..) => Undone::Kept(Given { view, ..grant }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const J: i64 = 5;
    const A: i64 = 1;
    const B: i64 = 7;

    fn key(job: i64) -> JobKey {
        JobKey::new(job).expect("an id")
    }

    fn giver(job: i64) -> Giver {
        JobKey::new(job).map_or(Giver::Nobody, Giver::Job)
    }

    /// A grant that came at 100, and its edit, if it came later, at 200.
    fn given(view: Option<i64>, edit: Option<i64>) -> Given {
        let edit_at = (view.is_some() && edit.is_some()).then_some(200);
        Given { view: view.map(giver), edit: edit.map(giver), granted_at: 100, edit_at }
    }

    fn claim(job: i64, at: i64, asked: Permission) -> Claim {
        Claim { job: key(job), at, asked }
    }

    fn undone(grant: Given, claims: &[Claim]) -> Undone {
        undo(grant, key(J), Heirs::of(&grant, claims))
    }

    use Permission::{Edit, View};

    #[test]
    fn what_the_job_alone_gave_is_revoked() {
        assert_eq!(undone(given(Some(J), None), &[]), Undone::Revoked);
        assert_eq!(undone(given(None, Some(J)), &[]), Undone::Revoked);
        assert_eq!(undone(given(Some(J), Some(J)), &[]), Undone::Revoked);
    }

    #[test]
    fn edit_over_the_view_of_another_is_lowered_to_that_view() {
        for other in [A, 0] {
            let lowered = Given { edit_at: None, ..given(Some(other), None) };
            assert_eq!(undone(given(Some(other), Some(J)), &[]), Undone::Lowered(lowered));
            let earlier = [claim(B, 150, Edit), claim(B + 1, 250, View)];
            assert_eq!(undone(given(Some(other), Some(J)), &earlier), Undone::Lowered(lowered));
        }
    }

    #[test]
    fn edit_of_another_stays_when_the_view_below_it_goes() {
        let grant = given(Some(J), Some(B));
        assert_eq!(undone(grant, &[]), Undone::Kept(Given { view: None, ..grant }));
        let claims = [claim(9, 300, View), claim(8, 120, Edit)];
        assert_eq!(undone(grant, &claims), Undone::Kept(Given { view: Some(giver(8)), ..grant }));
    }

    #[test]
    fn the_earliest_claim_takes_the_place_of_the_job() {
        let claims = [claim(9, 300, View), claim(8, 300, View), claim(3, 301, Edit)];
        let view = given(Some(J), None);
        assert_eq!(undone(view, &claims), Undone::Kept(Given { view: Some(giver(8)), ..view }));
        let edit = given(None, Some(J));
        assert_eq!(undone(edit, &claims), Undone::Kept(Given { edit: Some(giver(3)), ..edit }));
        let over = given(Some(A), Some(J));
        assert_eq!(undone(over, &claims), Undone::Kept(Given { edit: Some(giver(3)), ..over }));
        // Whoever stands in the row's view can be heir to its edit.
        let own = [claim(A, 300, Edit)];
        assert_eq!(undone(over, &own), Undone::Kept(Given { edit: Some(giver(A)), ..over }));
    }

    #[test]
    fn a_claim_of_view_only_lowers_an_edit() {
        let lowered = Given { view: Some(giver(8)), edit: None, granted_at: 100, edit_at: None };
        assert_eq!(undone(given(None, Some(J)), &[claim(8, 100, View)]), Undone::Lowered(lowered));
        // Edit that was asked for before this edit came is not known of any more.
        let both = given(Some(J), Some(J));
        assert_eq!(undone(both, &[claim(8, 199, Edit)]), Undone::Lowered(lowered));
    }

    #[test]
    fn a_claim_older_than_the_row_does_not_count() {
        assert_eq!(undone(given(Some(J), None), &[claim(8, 99, View)]), Undone::Revoked);
        assert_eq!(undone(given(None, Some(J)), &[claim(8, 99, Edit)]), Undone::Revoked);
    }

    #[test]
    fn what_the_job_did_not_give_is_untouched() {
        let claims = [claim(8, 300, Edit)];
        let nobody = Given { view: None, edit: None, granted_at: 0, edit_at: None };
        for grant in [given(Some(A), None), given(Some(0), Some(B)), given(None, Some(B)), nobody] {
            assert_eq!(undone(grant, &claims), Undone::Untouched);
        }
    }

    /// One pair, and all that jobs did to it.
    #[derive(Debug, Clone, Default)]
    struct Pair {
        row: Option<Given>,
        claims: Vec<Claim>,
        asked: Vec<(i64, Permission)>,
        undone: BTreeSet<i64>,
        now: i64,
    }

    fn level(row: &Option<Given>) -> Option<Permission> {
        row.map(|row| if row.edit.is_some() { Edit } else { View })
    }

    impl Pair {
        fn share(&mut self, job: i64, asked: Permission) {
            self.now += 1;
            self.asked.push((job, asked));
            let giver = Some(giver(job));
            match &mut self.row {
                None => {
                    let (view, edit) = if asked == View { (giver, None) } else { (None, giver) };
                    self.row = Some(Given { view, edit, granted_at: self.now, edit_at: None });
                }
                Some(row) if row.edit.is_none() && asked == Edit => {
                    (row.edit, row.edit_at) = (giver, Some(self.now));
                }
                Some(_) => self.claims.push(claim(job, self.now, asked)),
            }
        }

        fn undo(&mut self, job: i64) {
            self.now += 1;
            self.undone.insert(job);
            let Some(row) = self.row else { return };
            let live = self.claims.iter().filter(|claim| !self.undone.contains(&claim.job.get()));
            let before = level(&self.row);
            match undo(row, key(job), Heirs::of(&row, live)) {
                Undone::Revoked => self.row = None,
                Undone::Lowered(row) => {
                    assert_eq!((before, level(&Some(row))), (Some(Edit), Some(View)));
                    self.row = Some(row);
                }
                Undone::Kept(row) => {
                    assert_eq!(before, level(&Some(row)));
                    self.row = Some(row);
                }
                Undone::Untouched => {}
            }
        }

        /// What the pair would have if the jobs that are undone had never run.
        fn expected(&self) -> Option<Permission> {
            self.asked.iter().filter(|(job, _)| !self.undone.contains(job)).map(|(_, asked)| *asked).max()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Each step is a share of a new job (`None` is no edit), or an undo of one of the jobs so far. Keys are
        /// not in the order of time, since a job with a lower id may come to a pair later.
        #[test]
        fn shares_and_undos_in_any_order_leave_what_the_others_asked_for(
            keys in Just((1..=12_i64).collect::<Vec<_>>()).prop_shuffle(),
            steps in prop::collection::vec((prop::bool::weighted(0.6), prop::bool::ANY, any::<prop::sample::Index>()), 1..24),
        ) {
            let mut pair = Pair::default();
            let mut keys = keys.into_iter();
            for (shares, edit, which) in steps {
                if shares && let Some(job) = keys.next() {
                    pair.share(job, if edit { Edit } else { View });
                } else if !pair.asked.is_empty() {
                    let (job, _) = pair.asked[which.index(pair.asked.len())];
                    pair.undo(job);
                }
                prop_assert_eq!(level(&pair.row), pair.expected(), "{:?}", pair);
            }
        }

        /// A row in which an heir stands in for the job reads as the row that the undo would have written.
        #[test]
        fn an_heir_stands_in_only_where_the_row_then_reads_as_it_is_to_be(
            (view, edit) in (prop::option::of(0..8_i64), prop::option::of(0..8_i64)),
            claims in prop::collection::vec((1..9_i64, 90..300_i64, prop::bool::ANY), 0..6),
        ) {
            let before = given(view, edit);
            let claims = claims.into_iter().filter(|(job, ..)| *job != J);
            let claims: Vec<_> = claims.map(|(job, at, edit)| claim(job, at, if edit { Edit } else { View })).collect();
            let outcome = undone(before, &claims);
            let (Undone::Kept(after) | Undone::Lowered(after)) = outcome else { return Ok(()) };
            let heir = stand_in(&before, &after, key(J));
            let read = |of: Option<Giver>, heir| if of == Some(giver(J)) { Some(Giver::Job(heir)) } else { of };
            if let Some(heir) = heir {
                prop_assert!(matches!(outcome, Undone::Kept(_)));
                prop_assert_eq!(Given { view: read(before.view, heir), edit: read(before.edit, heir), ..before }, after);
            } else {
                // Nobody can stand in: the row gives less, or has lost a view that nobody claims, or has two heirs.
                let lost = before.view.is_some() && after.view.is_none();
                let two = before.view == before.edit && after.view != after.edit;
                prop_assert!(matches!(outcome, Undone::Lowered(_)) || lost || two, "{:?} {:?}", before, after);
            }
        }

        /// Where nothing but shares comes first, the order of the undos does not matter, whatever was lowered or
        /// taken away by hand before them.
        #[test]
        fn undo_commutes(
            shares in prop::collection::vec((prop::bool::ANY, 0..8_u8), 1..8),
            (one, other) in prop::collection::btree_set(1..=8_i64, 0..8)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>())
                .prop_flat_map(|order| (Just(order.clone()), Just(order).prop_shuffle())),
        ) {
            let mut pair = Pair::default();
            for (job, (edit, by_hand)) in (1..).zip(shares) {
                pair.share(job, if edit { Edit } else { View });
                pair.now += 1;
                match (by_hand, &mut pair.row) {
                    (0, row) => *row = None,
                    (1, Some(row)) if row.edit.is_some() => {
                        row.view = row.view.or(row.edit);
                        (row.edit, row.edit_at) = (None, None);
                    }
                    _ => {}
                }
            }
            let mut again = pair.clone();
            one.iter().for_each(|job| pair.undo(*job));
            other.iter().for_each(|job| again.undo(*job));
            prop_assert_eq!(level(&pair.row), level(&again.row));
        }
    }
}
