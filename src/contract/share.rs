//! What a share or an unshare is asked with: the `data` of a request, the body of HTTP's POST, and the parts of it that a
//! job's row keeps.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::contract::json::invalid::{Invalid, Problem, UNKNOWN, Unread};
use crate::contract::json::kinds::{Count, Ids, Items, Line, List, MUST_BE_A_TEXT, Text, filled, line};
use crate::contract::json::object::Object;
use crate::contract::json::read::{document, member, value};
use crate::contract::json::value::{Checked, Kind};
use crate::contract::secret::Note;
use crate::domain::permission::{Permission, PrincipalKind, RejectReason};
use crate::domain::{
    AllFilter, Counts, JobKind, PrincipalId, Recipient, SecretId, Selection, ShareRequest, text,
};

/// A share as HTTP's POST asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareAsked {
    pub request: ShareRequest,
    /// The counts of a preview. If they are given, the share is accepted only if it would come out like this now. They are
    /// a condition of this one POST, and no part of the job.
    pub expect: Option<Counts>,
}

/// Reads the body of HTTP's POST: the `data` of a request without `requested_by`, which the session tells, and with what
/// is expected of it.
///
/// # Errors
/// Where the body is not JSON, or which of its fields is wrong.
pub fn decode_share_data(body: &[u8], requested_by: PrincipalId) -> Result<ShareAsked, Unread> {
    let mut share: ShareBody = document(body, "")?;
    let expect = share.expect.take().map(|counts| counts.0.0.into());
    Ok(ShareAsked { request: share.asked("", JobKind::Share, requested_by)?, expect })
}

/// Reads the body of an unshare over HTTP, which has the form of a share's without a note and an expectation.
///
/// # Errors
/// As [`decode_share_data`].
pub fn decode_unshare_data(body: &[u8], requested_by: PrincipalId) -> Result<ShareRequest, Unread> {
    let unshare: ShareBody = document(body, "")?;
    if unshare.expect.is_some() {
        return Err(Invalid::new("expect", UNKNOWN).into());
    }
    Ok(unshare.asked("", JobKind::Unshare, requested_by)?)
}

/// Reads the body of the order to share what a job left undone: `{}`, or `{"reasons": […]}` with the reasons of the
/// rejected pairs that are meant. It may be empty. No reasons mean all.
///
/// # Errors
/// As [`decode_share_data`].
pub fn decode_rest_data(body: &[u8]) -> Result<BTreeSet<RejectReason>, Unread> {
    if body.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rest: RestBody = document(body, "")?;
    let Some(Checked(Items(reasons))) = rest.reasons else { return Ok(BTreeSet::new()) };
    if reasons.is_empty() {
        return Err(Invalid::new("reasons", "must not be empty").into());
    }
    Ok(reasons.into_iter().map(|Checked(reason)| reason).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestBody {
    reasons: Option<List<Checked<RejectReason>>>,
}

impl Kind<'_> for RejectReason {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        Self::from_name(filled(text)?)
            .ok_or_else(|| "must be not_found, not_allowed, disabled, inactive or no_account".into())
    }
}

/// Reads the `data` of a message that asks for a share or an unshare.
pub(super) fn request_data(kind: JobKind, data: &[u8]) -> Result<ShareRequest, Unread> {
    const ROOT: &str = "data";
    let RequestData { requested_by, secrets, recipients, note } = document(data, ROOT)?;
    Ok(ShareBody { secrets, recipients, note, expect: None }.asked(ROOT, kind, requested_by.0)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareBody {
    secrets: Object<SecretsBody>,
    recipients: List<Object<RecipientBody>>,
    /// Of a share only.
    note: Option<Text<Note>>,
    /// Of a share over HTTP only.
    expect: Option<Object<ExpectBody>>,
}

/// What a preview counted, in pairs. All four are named, so that nothing is expected by mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectBody {
    granted: Checked<Count>,
    upgraded: Checked<Count>,
    unchanged: Checked<Count>,
    rejected: Checked<Count>,
}

impl From<ExpectBody> for Counts {
    fn from(body: ExpectBody) -> Self {
        let ExpectBody { granted, upgraded, unchanged, rejected } = body;
        Self {
            granted: granted.0.0,
            upgraded: upgraded.0.0,
            unchanged: unchanged.0.0,
            rejected: rejected.0.0,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestData {
    requested_by: Checked<PrincipalId>,
    secrets: Object<SecretsBody>,
    recipients: List<Object<RecipientBody>>,
    note: Option<Text<Note>>,
}

/// `{"ids": […]}` or `{"all": {…}}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsBody {
    ids: Option<Checked<Ids<SecretId>>>,
    all: Option<Object<AllBody>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllBody {
    search: Option<Checked<Line>>,
    tag: Option<Checked<Line>>,
    shared: Option<Checked<bool>>,
    except: Option<Checked<Ids<SecretId>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipientBody {
    kind: Checked<PrincipalKind>,
    id: Checked<PrincipalId>,
    permission: Option<Checked<Permission>>,
}

/// A recipient in a job's row. What an unshare takes has a name of its own, and so has what is given by a job that shares
/// what another left undone: a program that does not know such jobs refuses to read their rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRecipient {
    kind: Checked<PrincipalKind>,
    id: Checked<PrincipalId>,
    permission: Option<Checked<Permission>>,
    take: Option<Checked<Permission>>,
    give: Option<Checked<Permission>>,
}

impl Kind<'_> for PrincipalKind {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        Self::from_name(filled(text)?).ok_or_else(|| "must be user, user_group or personal_group".into())
    }
}

impl Kind<'_> for Permission {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        Self::from_name(line(text)?).ok_or_else(|| "must be view or edit".into())
    }
}

impl ShareBody {
    /// What is asked for, held against the rules that concern several fields. `root` is the path of the object that has
    /// the fields.
    fn asked(self, root: &str, kind: JobKind, requested_by: PrincipalId) -> Result<ShareRequest, Invalid> {
        let root_of_secrets = member(root, "secrets");
        let selection = self.secrets.0.0.selection(&root_of_secrets)?;
        if let Selection::All(filter) = &selection {
            within_rules(filter, &member(&root_of_secrets, "all"))?;
        }
        let recipients = self.recipients.0.0;
        if recipients.is_empty() {
            return Err(Invalid::new(member(root, "recipients"), "must not be empty"));
        }
        let recipients = recipients.into_iter().map(recipient);
        match (kind, self.note) {
            // Nobody is told that access was taken away, so there is nobody to read a note.
            (JobKind::Unshare, Some(_)) => Err(Invalid::new(member(root, "note"), UNKNOWN)),
            (JobKind::Unshare, None) => Ok(ShareRequest::taking(requested_by, selection, recipients)),
            (JobKind::Share | JobKind::Undo, note) => {
                let share = ShareRequest::new(requested_by, selection, recipients);
                Ok(share.with_note(note.map(String::from)))
            }
        }
    }
}

/// Holds a search against today's rules. A request that was stored before them is read all the same.
fn within_rules(filter: &AllFilter, root: &str) -> Result<(), Invalid> {
    let search = text::search(filter.search.as_deref().unwrap_or_default());
    search.map_err(|error| Invalid::new(member(root, "search"), error.to_string()))?;
    let tag = text::tag_search(filter.tag.as_deref().unwrap_or_default());
    tag.map_err(|error| Invalid::new(member(root, "tag"), error.to_string()))
}

impl SecretsBody {
    fn selection(self, root: &str) -> Result<Selection, Invalid> {
        match (self.ids, self.all) {
            (Some(_), Some(_)) => Err(Invalid::new(member(root, "all"), "must not come together with ids")),
            (None, None) => Err(Invalid::new(member(root, "ids"), "is missing (or all in its place)")),
            (Some(Checked(Ids(ids))), None) if ids.is_empty() => {
                Err(Invalid::new(member(root, "ids"), "must not be empty"))
            }
            (Some(Checked(Ids(ids))), None) => Ok(Selection::Ids(ids)),
            (None, Some(all)) => Ok(Selection::All(all.0.0.into())),
        }
    }
}

impl From<AllBody> for AllFilter {
    fn from(all: AllBody) -> Self {
        Self {
            search: all.search.map(|text| text.0.0),
            tag: all.tag.map(|text| text.0.0),
            shared: all.shared.map(|shared| shared.0),
            except: all.except.map(|ids| ids.0.0).unwrap_or_default(),
        }
    }
}

fn recipient(body: Object<RecipientBody>) -> Recipient {
    let RecipientBody { kind, id, permission } = body.0.0;
    Recipient { kind: kind.0, id: id.0, permission: permission.map(|of| of.0).unwrap_or_default() }
}

/// Reads the selection of a job's row.
///
/// # Errors
/// Which field is wrong: the row was not written by this program.
pub fn selection_from_json(text: &str) -> Result<Selection, Invalid> {
    const ROOT: &str = "selection";
    let secrets: SecretsBody = document(text.as_bytes(), ROOT).map_err(stored)?;
    secrets.selection(ROOT)
}

/// Reads the recipients of a job's row, be it a share or an unshare.
///
/// # Errors
/// As [`selection_from_json`].
pub fn recipients_from_json(text: &str) -> Result<Vec<Recipient>, Invalid> {
    let recipients: List<Object<StoredRecipient>> = value(text.as_bytes(), "recipients").map_err(stored)?;
    Ok(recipients.0.0.into_iter().map(stored_recipient).collect())
}

pub(super) fn stored_recipient(body: Object<StoredRecipient>) -> Recipient {
    let StoredRecipient { kind, id, permission, take, give } = body.0.0;
    let permission = permission.or(take).or(give).map(|of| of.0).unwrap_or_default();
    Recipient { kind: kind.0, id: id.0, permission }
}

fn stored(error: Unread) -> Invalid {
    match error {
        Unread::Invalid(invalid) => invalid,
        Unread::NotJson { .. } => Invalid::new("the stored request", "is not JSON"),
    }
}
