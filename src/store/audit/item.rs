//! What a listing of the audit selects and shows, and its pages.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::domain::{Actor, JobId, PrincipalId, SecretId};

/// Selects what is listed. A part that is not set selects everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter {
    pub since: Option<Since>,
    /// What was done with this secret, and the jobs by which somebody has access to it now.
    pub secret: Option<SecretId>,
    /// What this person did, and what was done with this person's own access.
    pub person: Option<PrincipalId>,
    /// What happened to this job, and what was done with the access that it gave.
    pub job: Option<JobId>,
}

/// The beginning of a listing. It is part of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Milliseconds since 1970.
    At(i64),
    /// So many milliseconds before now, by the database's clock.
    Ago(i64),
}

/// Where the next page begins. It is written as its numbers with dots between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    at: i64,
    /// What tells items of one millisecond apart: the source and the kind of the item.
    rank: i64,
    id: i64,
}

impl AuditCursor {
    /// The cursor of the page after the item at this place.
    pub(in crate::store) fn behind((at, rank, id): (i64, i64, i64)) -> Self {
        Self { at, rank, id }
    }
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at, self.rank, self.id)
    }
}

impl FromStr for AuditCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<i64>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([at, rank, id]) => Ok(Self { at: *at, rank: *rank, id: *id }),
            _ => Err("is not the next_cursor of a listing".to_owned()),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditItem {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The name of an [`crate::domain::AuditAction`], which may be one of a newer program, or `job_asked`, `job_begun`
    /// or `job_ended`.
    pub action: String,
    pub by: Actor,
    pub secret: Option<SecretId>,
    /// Whose access it was about.
    pub principal: Option<PrincipalId>,
    /// The jobs that it was about, two at the most.
    pub jobs: Vec<JobId>,
    /// What else there is to know. It is a JSON object.
    pub detail: Value,
}

/// An item and its place in the listing.
pub(in crate::store) type Placed = ((i64, i64, i64), AuditItem);

/// Conditions on the time and on the place in the listing, of a source whose items have the time `at`, this `rank` and
/// this `id`. The values are numbers of ours, so they are part of the text.
pub(in crate::store) fn in_page(
    filter: &AuditFilter,
    after: Option<AuditCursor>,
    (at, rank, id): (&str, &str, &str),
) -> String {
    let since = match filter.since {
        None => String::new(),
        Some(Since::At(from)) => format!("AND {at} >= {from}"),
        Some(Since::Ago(span)) => format!("AND {at} >= now_ms() - {span}"),
    };
    let after = after.map_or_else(String::new, |after| {
        // The first condition follows from the second, and lets an index begin at that time.
        format!("AND {at} <= {0} AND ({at}, {rank}, {id}) < ({0}, {1}, {2})", after.at, after.rank, after.id)
    });
    format!("{since} {after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let cursor = AuditCursor { at: 1_764_190_000_000, rank: 2, id: 7 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "7", "1.2", "1.2.3.4", "1.2.x", "1. 2.3"] {
            assert!(text.parse::<AuditCursor>().is_err(), "{text}");
        }
    }
}
