//! `batchshare share --dry-run`: says what a share would do.

use crate::cli::report::{NamedRejection, REJECTIONS_IN_WORDS, rejected, with_names};
use crate::cli::{Code, Failure, out};
use crate::contract::answer;
use crate::domain::foresight::{People, SharePreview};
use crate::store::Store;

/// Prints a preview, in words or as the document that HTTP has. An operator sees the names of all that is rejected.
pub(super) async fn tell(store: &Store, preview: &SharePreview, json: bool) -> Result<Code, Failure> {
    let lines = preview.rejections.clone();
    if json {
        let lines = with_names(store, lines).await?;
        let lines = lines.into_iter().map(|(line, known)| NamedRejection::new(&line, known)).collect();
        out::json(&answer::SharePreview::of(preview, lines))?;
        return Ok(Code::Done);
    }
    for line in words(preview) {
        out::line(format!("  {line}"))?;
    }
    let named = with_names(store, lines.into_iter().take(REJECTIONS_IN_WORDS).collect()).await?;
    for (line, name) in &named {
        out::line(format!("    {}", rejected(line, name.as_ref())))?;
    }
    let more = preview.rejections_total.saturating_sub(named.len() as u64);
    if more > 0 {
        out::line(format!("    and {} more", out::grouped(more)))?;
    }
    Ok(Code::Done)
}

/// The size of the share, how many people it would reach, and a line for each count that is not zero.
fn words(preview: &SharePreview) -> Vec<String> {
    let counts = preview.counts;
    let mut lines = Vec::new();
    if let (Some(secrets), Some(pairs)) = (preview.secrets, preview.pairs()) {
        lines.push(format!(
            "{} with {}: {}",
            out::counted(secrets, "secret"),
            out::counted(preview.recipients, "recipient"),
            out::counted(pairs, "pair"),
        ));
    }
    if let Some(People { direct, through_groups, distinct }) = preview.people {
        let people =
            if distinct == 1 { "1 person".to_owned() } else { format!("{} people", out::grouped(distinct)) };
        let (direct, through) = (out::grouped(direct), out::grouped(through_groups));
        lines.push(format!("{people} would have access: {direct} by name, {through} through groups"));
    }
    let more = if preview.exact { "" } else { "at least " };
    let counted = [
        (counts.granted, "would be shared"),
        (counts.upgraded, "would be upgraded from view to edit"),
        (counts.unchanged, "have it already"),
        (counts.rejected, "would not be shared"),
    ];
    let counted = counted.into_iter().filter(|(count, _)| *count > 0);
    lines.extend(counted.map(|(count, words)| format!("{more}{:>10} {words}", out::grouped(count))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Counts;

    #[test]
    fn a_preview_says_how_much_of_what_and_how_many_people() {
        let counts = Counts { granted: 3_480, upgraded: 0, unchanged: 120, rejected: 0 };
        let people = Some(People { direct: 2, through_groups: 40, distinct: 41 });
        let preview = SharePreview {
            secrets: Some(1_200),
            recipients: 3,
            counts,
            people,
            exact: true,
            ..SharePreview::default()
        };
        assert_eq!(
            words(&preview),
            [
                "1,200 secrets with 3 recipients: 3,600 pairs",
                "41 people would have access: 2 by name, 40 through groups",
                "     3,480 would be shared",
                "       120 have it already",
            ]
        );
    }

    #[test]
    fn what_was_not_looked_at_is_not_told_as_certain() {
        let preview =
            SharePreview { counts: Counts { granted: 7, ..Counts::default() }, ..SharePreview::default() };
        assert_eq!(words(&preview), ["at least          7 would be shared"]);
    }
}
