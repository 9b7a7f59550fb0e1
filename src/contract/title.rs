//! The first recipients and secrets of a job, as HTTP and the command line have them, and as they are read from the
//! beginnings of stored texts.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Deserializer;

use crate::contract::json::object::Object;
use crate::contract::share::{StoredRecipient, stored_recipient};
use crate::domain::title::{FirstRecipient, FirstSecret, NAMED};
use crate::domain::{PrincipalId, PrincipalKind, Recipient, SecretId};

/// How many characters of a stored text have its first recipients and secrets for certain. A recipient has 67 at the
/// most, with the longest id, kind and permission.
pub const TITLE_CHARS: usize = 240;

/// A recipient in the title of a job. The name is `None` where the reader may not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstRecipientBody {
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    pub name: Option<String>,
}

/// A secret in the title of a job. The name is `None` where the reader may not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstSecretBody {
    pub id: SecretId,
    pub name: Option<String>,
}

impl From<FirstRecipient> for FirstRecipientBody {
    fn from(first: FirstRecipient) -> Self {
        let FirstRecipient { id, kind, name } = first;
        Self { id, kind, name }
    }
}

impl From<FirstSecret> for FirstSecretBody {
    fn from(first: FirstSecret) -> Self {
        let FirstSecret { id, name } = first;
        Self { id, name }
    }
}

/// The first recipients in the beginning of a job's stored recipients. A text that has another form has none.
#[must_use]
pub fn first_recipients(beginning: &str) -> Vec<Recipient> {
    first::<Object<StoredRecipient>>(beginning).into_iter().map(stored_recipient).collect()
}

/// The first secrets in the beginning of a job's stored selection, or of its list of secrets. A selection of all has
/// none.
#[must_use]
pub fn first_secrets(beginning: &str) -> Vec<SecretId> {
    first(beginning.strip_prefix("{\"ids\":").unwrap_or(beginning))
}

/// The first values of an array whose end may be cut off.
fn first<T: DeserializeOwned>(beginning: &str) -> Vec<T> {
    let mut found = Vec::new();
    let mut rest = beginning.strip_prefix('[');
    while let Some(text) = rest
        && found.len() < NAMED
    {
        let mut values = Deserializer::from_str(text).into_iter::<T>();
        let Some(Ok(value)) = values.next() else { break };
        // What nothing follows may be cut off, like the digits of an id.
        let Some(after) = text.get(values.byte_offset()..).filter(|after| !after.is_empty()) else { break };
        found.push(value);
        rest = after.strip_prefix(',');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{StoredRequest, recipients_from_json, rest_recipients};
    use crate::domain::{AllFilter, MAX_ID, Permission, Selection, ShareRequest};

    /// The request of a share, and that of an unshare.
    fn stored(secrets: Selection, recipients: &[Recipient]) -> [StoredRequest; 2] {
        let by = PrincipalId::new(1).expect("an id");
        let share = ShareRequest::new(by, secrets.clone(), recipients.iter().copied());
        let unshare = ShareRequest::taking(by, secrets, recipients.iter().copied());
        [StoredRequest::of(&share), StoredRequest::of(&unshare)]
    }

    #[test]
    fn the_first_three_are_read_however_long_their_ids_are_and_wherever_the_text_is_cut() {
        for largest in [7, MAX_ID] {
            for many in 1..6 {
                let id = |place: i64| largest - many + place;
                let secrets: Vec<SecretId> =
                    (1..=many).map(|place| SecretId::new(id(place)).expect("an id")).collect();
                let recipients: Vec<Recipient> = (1..=many)
                    .map(|place| Recipient {
                        kind: PrincipalKind::PersonalGroup,
                        id: PrincipalId::new(id(place)).expect("an id"),
                        permission: Permission::View,
                    })
                    .collect();
                let wanted = NAMED.min(secrets.len());
                let cut = |text: &str, at: usize| text.chars().take(at).collect::<String>();
                for stored in stored(Selection::Ids(secrets.clone()), &recipients) {
                    let begins = cut(&stored.selection, TITLE_CHARS);
                    assert_eq!(first_secrets(&begins), secrets[..wanted]);
                    assert_eq!(first_recipients(&cut(&stored.recipients, TITLE_CHARS)), recipients[..wanted]);
                    for at in 0..TITLE_CHARS {
                        let found = first_secrets(&cut(&stored.selection, at));
                        assert!(secrets.starts_with(&found), "{at}: {found:?}");
                        assert!(
                            recipients.starts_with(&first_recipients(&cut(&stored.recipients, at))),
                            "{at}"
                        );
                    }
                }
                // The recipients of a rest are read like others, and not by a program that knows only permissions.
                let given = rest_recipients(&recipients);
                assert_eq!(first_recipients(&cut(&given, TITLE_CHARS)), recipients[..wanted]);
                assert_eq!(recipients_from_json(&given).as_ref(), Ok(&recipients));
                assert!(!given.contains("permission"));
                let list = serde_json::json!(secrets).to_string();
                assert_eq!(first_secrets(&cut(&list, TITLE_CHARS)), secrets[..wanted]);
            }
        }
    }

    #[test]
    fn a_text_of_another_form_has_nobody() {
        let [StoredRequest { selection: all, .. }, _] = stored(Selection::All(AllFilter::default()), &[]);
        for text in ["", "[", "[]", "{}", "null", "[1", "[\"x\",", "[{},", &all] {
            assert_eq!(first_secrets(text), [], "{text}");
            assert_eq!(first_recipients(text), [], "{text}");
        }
    }
}
