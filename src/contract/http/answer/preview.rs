//! What a share would do.

use serde::Serialize;

use crate::contract::http::answer::rejection::Rejection;
use crate::domain::{Counts, foresight};

/// The answer to `POST /share-jobs/preview`. `R` is what each of its rejections is written as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharePreview<R = Rejection> {
    /// Whether everything was looked at. If not, there was no time for it, and each count may be higher.
    pub exact: bool,
    pub granted: u64,
    /// Secrets times recipients. Null where there was no time to find out which secrets "all" are.
    pub pairs: Option<u64>,
    /// Null where there was no time to count them.
    pub people: Option<People>,
    pub recipients: u64,
    pub rejected: u64,
    /// The first of them, at most 100.
    pub rejections: Vec<R>,
    pub rejections_total: u64,
    /// Null where `pairs` is.
    pub secrets: Option<u64>,
    pub unchanged: u64,
    pub upgraded: u64,
}

/// How many people would have access through the recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct People {
    /// Recipients themselves.
    pub direct: u64,
    /// All together, each counted once.
    pub distinct: u64,
    /// Members of groups that are recipients, each counted once.
    pub through_groups: u64,
}

impl<R> SharePreview<R> {
    /// A preview with these of its rejections.
    #[must_use]
    pub fn of(preview: &foresight::SharePreview, rejections: Vec<R>) -> Self {
        let Counts { granted, upgraded, unchanged, rejected } = preview.counts;
        Self {
            exact: preview.exact,
            granted,
            pairs: preview.pairs(),
            people: preview.people.map(People::from),
            recipients: preview.recipients,
            rejected,
            rejections,
            rejections_total: preview.rejections_total,
            secrets: preview.secrets,
            unchanged,
            upgraded,
        }
    }
}

impl From<foresight::People> for People {
    fn from(people: foresight::People) -> Self {
        let foresight::People { direct, through_groups, distinct } = people;
        Self { direct, distinct, through_groups }
    }
}
