//! What a job is about, in one line: "3 secrets (Stripe, Adyen, Pix) for Bruno, Plantão and 4 more".

use crate::cli::out;
use crate::cli::recipients::noun;
use crate::domain::title::{FirstRecipient, FirstSecret, Title};
use crate::domain::{JobKind, JobSnapshot};

/// The most characters of a name that are shown.
const LONGEST_NAME: usize = 40;

/// The line of a job. Names that nobody has any more are told by their ids.
pub(super) fn title(job: &JobSnapshot, title: &Title) -> String {
    let secrets = match job.secrets {
        None if job.recipients.is_none() => return "a request that could not be read".to_owned(),
        None => "all secrets that match".to_owned(),
        Some(count) => {
            let names: Vec<String> = title.secrets.iter().map(secret).collect();
            let more = if count > names.len() as u64 { ", …" } else { "" };
            let counted = out::counted(count, "secret");
            if names.is_empty() { counted } else { format!("{counted} ({}{more})", names.join(", ")) }
        }
    };
    let Some(count) = job.recipients.filter(|_| !title.recipients.is_empty()) else {
        return secrets;
    };
    let names: Vec<String> = title.recipients.iter().map(recipient).collect();
    let more = count.saturating_sub(names.len() as u64);
    let whom = match (names.split_last(), more) {
        (_, 1..) => format!("{} and {} more", names.join(", "), out::grouped(more)),
        (Some((last, [])), _) => last.clone(),
        (Some((last, before)), _) => format!("{} and {last}", before.join(", ")),
        (None, _) => String::new(),
    };
    let direction = match job.kind {
        JobKind::Share => "for",
        JobKind::Undo => "taken back from",
        JobKind::Unshare => "taken from",
    };
    format!("{secrets} {direction} {whom}")
}

fn secret(first: &FirstSecret) -> String {
    first.name.as_deref().map_or_else(|| format!("secret {}", first.id), short)
}

fn recipient(first: &FirstRecipient) -> String {
    first.name.as_deref().map_or_else(|| format!("{} {}", noun(first.kind), first.id), short)
}

/// The name, cut where it is long.
fn short(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Counts, JobId, JobState, PrincipalId, PrincipalKind, SecretId, Taken};

    fn job(secrets: Option<u64>, recipients: u64) -> JobSnapshot {
        JobSnapshot {
            kind: JobKind::Share,
            parent: None,
            undone_by: None,
            ended_by: None,
            note: None,
            taken: Taken::default(),
            job_id: JobId::generate(),
            run: 1,
            requested_by: PrincipalId::new(1).expect("an id"),
            state: JobState::Running,
            reason: None,
            secrets,
            recipients: Some(recipients),
            pairs: None,
            counts: Counts::default(),
            rejections: Vec::new(),
            rejections_total: 0,
            attempts: 0,
            requested_at: 0,
            started_at: None,
            finished_at: None,
            retry: None,
        }
    }

    fn called(secrets: &[&str], recipients: &[&str]) -> Title {
        let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Title {
            secrets: secrets
                .iter()
                .map(|text| FirstSecret { id: SecretId::new(7).expect("an id"), name: name(text) })
                .collect(),
            recipients: recipients
                .iter()
                .map(|text| FirstRecipient {
                    id: PrincipalId::new(8).expect("an id"),
                    kind: PrincipalKind::UserGroup,
                    name: name(text),
                })
                .collect(),
        }
    }

    #[test]
    fn a_title_names_the_first_and_counts_the_rest() {
        let long = "x".repeat(50);
        let cut = format!("1 secret ({}…) for B", "x".repeat(40));
        for (secrets, recipients, title_of, line) in [
            (Some(1), 1, called(&["Stripe"], &["Bruno"]), "1 secret (Stripe) for Bruno"),
            (Some(2), 2, called(&["A", "B"], &["C", "D"]), "2 secrets (A, B) for C and D"),
            (Some(3), 3, called(&["A", "B", "C"], &["D", "E", "F"]), "3 secrets (A, B, C) for D, E and F"),
            (
                Some(1_200),
                7,
                called(&["A", "B", "C"], &["D", "E", "F"]),
                "1,200 secrets (A, B, C, …) for D, E, F and 4 more",
            ),
            (Some(1), 1, called(&[""], &[""]), "1 secret (secret 7) for user group 8"),
            (None, 1, called(&[], &["D"]), "all secrets that match for D"),
            (Some(1), 1, called(&[&long], &["B"]), &cut),
        ] {
            assert_eq!(title(&job(secrets, recipients), &title_of), line);
        }
        let undo = JobSnapshot { kind: JobKind::Undo, ..job(Some(1), 1) };
        assert_eq!(title(&undo, &called(&["A"], &["B"])), "1 secret (A) taken back from B");
        // The request of this one could not be read.
        let unread = JobSnapshot { recipients: None, ..job(None, 0) };
        assert_eq!(title(&unread, &Title::default()), "a request that could not be read");
    }
}
