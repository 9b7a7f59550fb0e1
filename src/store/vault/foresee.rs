//! Counts what applying a plan would do, without doing it.

use crate::db::{Conn, DbError};
use crate::domain::plan::ChunkPlan;
use crate::domain::{Counts, Permission, PrincipalId};
use crate::store::vault::take_away::{Rectangle, count};

/// The counts that [`crate::store::vault::grants::apply`] would return for this plan now. Nothing is locked or written.
pub(in crate::store) fn counts(conn: &mut Conn, plan: &ChunkPlan) -> Result<Counts, DbError> {
    let who = |wanted: Permission| {
        let those = plan.recipients.iter().filter(move |(_, permission)| *permission == wanted);
        those.map(|(id, _)| *id).collect::<Vec<PrincipalId>>()
    };
    let (viewers, editors) = (who(Permission::View), who(Permission::Edit));
    let pairs =
        |recipients| Rectangle { secrets: &plan.secrets, recipients, owners: !plan.owners.is_empty() };
    let viewed = count(conn, &pairs(&viewers), Permission::View)?;
    let there = count(conn, &pairs(&editors), Permission::View)?;
    // Most pairs are new, and then there is nothing that could be upgraded.
    let edited = if there > 0 { count(conn, &pairs(&editors), Permission::Edit)? } else { 0 };
    let upgraded = there.saturating_sub(edited);
    let granted = plan.pairs_to_apply().saturating_sub(viewed + there);
    let valid = plan.pairs_to_apply() + plan.owners.len() as u64;
    Ok(Counts {
        granted,
        upgraded,
        unchanged: valid.saturating_sub(granted + upgraded),
        rejected: plan.rejected(),
    })
}
