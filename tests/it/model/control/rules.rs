//! The rules of undo: which jobs are undone, which claims count, and what becomes of the row of a pair.

use super::world::*;

impl Control {
    /// Whether a job is undone, from the request of its undo on. An undo that failed or was cancelled does not count,
    /// but an earlier one that completed with rejections still does.
    pub fn is_undone(&self, state: &State, job: u8) -> bool {
        let counts = |undo: &Job| !matches!(undo.state, JobState::Failed | JobState::Cancelled);
        if self.is(Broken::OnlyTheLatestUndoCounts) {
            return state.job(job).undone_by.is_some_and(|undo| counts(state.job(undo)));
        }
        state.jobs.iter().any(|undo| undo.undoes(job) && counts(undo))
    }

    /// Whether an undo of the job may be requested: the job has ended, and every undo of it has ended and left
    /// something.
    pub fn may_undo(&self, state: &State, job: u8) -> bool {
        state.job(job).ended() && self.may_undo_again(state, job)
    }

    pub fn may_undo_again(&self, state: &State, job: u8) -> bool {
        let all_taken = |undo: &Job| undo.state == JobState::Completed && !undo.rejected;
        !state.jobs.iter().any(|undo| undo.undoes(job) && (!undo.ended() || all_taken(undo)))
    }

    /// The claims that may stand in for `job`: those of other jobs that are not undone.
    pub fn live(&self, state: &State, job: u8, claims: &[Claim]) -> Vec<Claim> {
        let is_live = |claim: &Claim| {
            let undone = self.is_undone(state, claim.job) && !self.is(Broken::HandsToUndone);
            claim.job != job && !undone && !self.is(Broken::UndoForgetsClaims)
        };
        claims.iter().copied().filter(is_live).collect()
    }

    /// What becomes of a row when `job` is undone, or `None` if the job has no part in it. The claims are live.
    pub fn undo(&self, state: &State, job: u8, row: Row, live: &[Claim]) -> Option<Option<Row>> {
        let by_job = self.is(Broken::UndoComparesJobs);
        let fits = |claim: &&Claim| if by_job { claim.job > job } else { claim.at >= row.granted_at };
        let claims: Vec<&Claim> = live.iter().filter(fits).collect();
        let is_of_edit = |claim: &&&Claim| {
            let survives = by_job || self.is(Broken::ClaimOfEditSurvivesLowering);
            state.job(claim.job).kind == Kind::Share(Level::Edit)
                && (survives || row.edit_at.is_none_or(|edit_at| claim.at >= edit_at))
        };
        let heir = claims.first().map(|claim| claim.job);
        let edit_heir = claims.iter().find(is_of_edit).map(|claim| claim.job);
        let (in_view, in_edit) = (row.view == Some(job), row.edit == Some(job));
        if !in_view && !in_edit {
            return None;
        }
        if in_edit && let Some(edit) = edit_heir {
            let view = if in_view { heir } else { row.view };
            return Some(Some(Row { view, edit: Some(edit), ..row }));
        }
        if row.edit.is_some() && !in_edit {
            return Some(Some(Row { view: heir, ..row }));
        }
        if !in_edit && self.is(Broken::UndoRaises) && edit_heir.is_some() {
            return Some(Some(Row { view: None, edit: edit_heir, ..row }));
        }
        let view = if in_view { heir } else { row.view.or(heir) };
        Some(view.map(|view| Row { view: Some(view), edit: None, edit_at: None, ..row }))
    }
}

/// What a share makes of a row, or `None` if the row gives enough already. The row's own time stays when it is upgraded.
pub fn share(row: Option<Row>, job: u8, level: Level, now: Time, edit_at: Time) -> Option<Row> {
    match (row, level) {
        (None, Level::View) => Some(Row { view: Some(job), edit: None, granted_at: now, edit_at: None }),
        (None, Level::Edit) => Some(Row { view: None, edit: Some(job), granted_at: now, edit_at: None }),
        (Some(row), Level::Edit) if row.edit.is_none() => {
            Some(Row { edit: Some(job), edit_at: Some(edit_at), ..row })
        }
        (Some(_), _) => None,
    }
}

/// What taking away makes of a row: nothing of it is left, or its view.
pub fn take(row: Row, what: Level) -> Option<Row> {
    match what {
        Level::View => None,
        Level::Edit => Some(Row { view: row.view.or(row.edit), edit: None, edit_at: None, ..row }),
    }
}

pub fn gives(row: Option<Row>) -> Option<Level> {
    row.map(|row| if row.edit.is_some() { Level::Edit } else { Level::View })
}
