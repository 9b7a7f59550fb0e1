//! What a share is asked with: the `data` of a request, the body of HTTP's POST, and the parts of it that a job's row
//! keeps. What takes access away is asked with the same fields.

use serde::Deserialize;

use crate::contract::json::invalid::{Invalid, Problem, Unread};
use crate::contract::json::kinds::{Ids, Line, List, MUST_BE_A_TEXT, filled, line};
use crate::contract::json::object::Object;
use crate::contract::json::read::{document, member, value};
use crate::contract::json::value::{Checked, Kind};
use crate::domain::permission::{Permission, PrincipalKind};
use crate::domain::{
    AllFilter, PrincipalId, Recipient, SecretId, Selection, ShareRequest, UnshareRequest, text,
};

/// Reads the body of HTTP's POST: the `data` of a request without `requested_by`, which the session tells.
///
/// # Errors
/// Where the body is not JSON, or which of its fields is wrong.
pub fn decode_share_data(body: &[u8], requested_by: PrincipalId) -> Result<ShareRequest, Unread> {
    let share: ShareBody = document(body, "")?;
    let (selection, recipients) = asked("", share.secrets, share.recipients)?;
    Ok(ShareRequest::new(requested_by, selection, recipients))
}

/// The path of a message's data.
const DATA: &str = "data";

/// Reads the `data` of a message that asks for a share.
pub(super) fn request_data(data: &[u8]) -> Result<ShareRequest, Unread> {
    let RequestData { requested_by, secrets, recipients } = document(data, DATA)?;
    let (selection, recipients) = asked(DATA, secrets, recipients)?;
    Ok(ShareRequest::new(requested_by.0, selection, recipients))
}

/// Reads the `data` of a message that asks to take access away. It has the fields of a share's.
pub(super) fn unshare_data(data: &[u8]) -> Result<UnshareRequest, Unread> {
    let RequestData { requested_by, secrets, recipients } = document(data, DATA)?;
    let (selection, recipients) = asked(DATA, secrets, recipients)?;
    Ok(UnshareRequest::new(requested_by.0, selection, recipients))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareBody {
    secrets: Object<SecretsBody>,
    recipients: List<Object<RecipientBody>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestData {
    requested_by: Checked<PrincipalId>,
    secrets: Object<SecretsBody>,
    recipients: List<Object<RecipientBody>>,
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
pub(super) struct RecipientBody {
    kind: Checked<PrincipalKind>,
    id: Checked<PrincipalId>,
    permission: Option<Checked<Permission>>,
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

/// What is asked for, held against the rules that concern several fields. `root` is the path of the object that has
/// the two fields.
fn asked(
    root: &str,
    secrets: Object<SecretsBody>,
    recipients: List<Object<RecipientBody>>,
) -> Result<(Selection, impl Iterator<Item = Recipient>), Invalid> {
    let root_of_secrets = member(root, "secrets");
    let selection = secrets.0.0.selection(&root_of_secrets)?;
    if let Selection::All(filter) = &selection {
        within_rules(filter, &member(&root_of_secrets, "all"))?;
    }
    let recipients = recipients.0.0;
    if recipients.is_empty() {
        return Err(Invalid::new(member(root, "recipients"), "must not be empty"));
    }
    Ok((selection, recipients.into_iter().map(recipient)))
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

pub(super) fn recipient(body: Object<RecipientBody>) -> Recipient {
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

/// Reads the recipients of a job's row.
///
/// # Errors
/// As [`selection_from_json`].
pub fn recipients_from_json(text: &str) -> Result<Vec<Recipient>, Invalid> {
    let recipients: List<Object<RecipientBody>> = value(text.as_bytes(), "recipients").map_err(stored)?;
    Ok(recipients.0.0.into_iter().map(recipient).collect())
}

fn stored(error: Unread) -> Invalid {
    match error {
        Unread::Invalid(invalid) => invalid,
        Unread::NotJson { .. } => Invalid::new("the stored request", "is not JSON"),
    }
}
