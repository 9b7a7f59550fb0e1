//! What a job from the command line is about: the secrets and the recipients that were typed.

use crate::cli::Failure;
use crate::cli::recipients;
use crate::cli::recipients::{Names, Typed};
use crate::domain::text;
use crate::domain::text::TextError;
use crate::domain::{
    AllFilter, Permission, PrincipalId, PrincipalKind, Recipient, RejectReason, SecretId, Selection,
};
use crate::store::{SecretFilter, Store};

/// A secret's id, as it is typed.
pub(super) fn secret_id(text: &str) -> Result<SecretId, String> {
    text.parse::<i64>().map_err(|_| "is not a number".to_owned()).and_then(SecretId::try_from)
}

/// Words to search for, as they are typed.
pub(super) fn search(text: &str) -> Result<String, TextError> {
    text::search(text).map(|()| text.to_owned())
}

/// A tag, as it is typed.
pub(super) fn tag(text: &str) -> Result<String, TextError> {
    text::tag_search(text).map(|()| text.to_owned())
}

/// A note for the recipients, in the form in which it is kept.
pub(super) fn note(text: &str) -> Result<String, TextError> {
    text::note(text)
}

/// How many secrets are looked at at once.
const PART: usize = 100_000;

/// Leaves the secrets that are disabled out of "all secrets that match", as the page does: a job would only reject them.
/// Returns how many there are. Secrets that are named are not left out, since somebody means them.
pub(super) async fn leave_out_disabled(
    store: &Store,
    requester: PrincipalId,
    selection: &mut Selection,
) -> Result<u64, Failure> {
    let Selection::All(filter) = selection else { return Ok(0) };
    let wanted = SecretFilter {
        search: filter.search.clone().unwrap_or_default(),
        tag: filter.tag.clone().unwrap_or_default(),
        shared: filter.shared,
        ..SecretFilter::default()
    };
    let mut after = None;
    loop {
        let mut part = store.selectable_secrets(requester, wanted.clone(), after, PART).await?;
        let disabled = part.by_ref().filter(|secret| secret.reason == Some(RejectReason::Disabled));
        filter.except.extend(disabled.map(|secret| secret.id));
        after = part.more_after;
        if after.is_none() {
            return Ok(filter.except.len() as u64);
        }
    }
}

/// What was typed.
pub(super) struct Asked<'a> {
    pub(super) requester: &'a str,
    /// If there is none, all secrets that match the search and the tag are meant.
    pub(super) secrets: &'a [SecretId],
    pub(super) search: Option<&'a String>,
    pub(super) tag: Option<&'a String>,
    pub(super) users: &'a [Typed],
    pub(super) groups: &'a [Typed],
    pub(super) personal_groups: &'a [Typed],
    /// The permission of who is named without one.
    pub(super) default: Permission,
}

/// What was meant.
pub(super) struct Picked {
    pub(super) requester: PrincipalId,
    pub(super) selection: Selection,
    pub(super) recipients: Vec<Recipient>,
}

/// Finds what was meant. Unknown and ambiguous names are errors that list the candidates.
pub(super) async fn pick(store: &Store, asked: Asked<'_>) -> Result<Picked, Failure> {
    let requester =
        recipients::one(store, PrincipalKind::User, asked.requester, None, Names::Exact).await?.id;
    let mut all = Vec::new();
    for (kind, typed) in [
        (PrincipalKind::User, asked.users),
        (PrincipalKind::UserGroup, asked.groups),
        (PrincipalKind::PersonalGroup, asked.personal_groups),
    ] {
        all.extend(recipients::resolve(store, kind, typed, requester, asked.default).await?);
    }
    let selection = if asked.secrets.is_empty() {
        Selection::All(AllFilter {
            search: asked.search.cloned(),
            tag: asked.tag.cloned(),
            ..AllFilter::default()
        })
    } else {
        Selection::Ids(asked.secrets.to_vec())
    };
    Ok(Picked { requester, selection, recipients: all })
}
