//! The change of a secret that HTTP's PATCH sends.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Deserializer};

use crate::contract::json::client_secret::ClientSecret;
use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::{MUST_BE_TRUE_OR_FALSE, Text};
use crate::contract::json::read::document;
use crate::contract::json::value::Checked;
use crate::contract::secret::{ClientId, Identifier, Method, Name, Notes, Tags, Url};
use crate::domain::SecretPatch;

/// Reads a change. A field that is absent stays as it is, and null empties a field that may be empty. A field that no
/// secret has, or that cannot be set, is an error, because the change would be lost without a word.
///
/// The client secret stands in `body` in the clear, which the caller wipes. No other memory has it that is not wiped.
///
/// # Errors
/// Where the body is not JSON, or which of its fields is wrong, without its value.
pub fn decode_secret_patch(body: &[u8]) -> Result<SecretPatch, Unread> {
    let patch: PatchBody = document(body, "")?;
    Ok(patch.read()?)
}

/// The fields of a change. `None` is a field that did not come, and `Some(None)` one that is null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchBody {
    #[serde(default, deserialize_with = "came")]
    name: Option<Text<Name>>,
    #[serde(default, deserialize_with = "came")]
    url: Option<Text<Url>>,
    #[serde(default, deserialize_with = "came")]
    client_id: Option<Text<ClientId>>,
    #[serde(default, deserialize_with = "came")]
    client_secret: Option<Option<ClientSecret>>,
    #[serde(default, deserialize_with = "came")]
    identifier: Option<Option<Text<Identifier>>>,
    #[serde(default, deserialize_with = "came")]
    method: Option<Option<Text<Method>>>,
    #[serde(default, deserialize_with = "came")]
    tags: Option<Option<Checked<Tags>>>,
    #[serde(default, deserialize_with = "came")]
    notes: Option<Option<Text<Notes>>>,
    #[serde(default, deserialize_with = "came")]
    disabled: Option<Option<Checked<bool>>>,
}

/// Reads a field that came. Without this, serde would make the same of a field that is null and of one that is absent.
fn came<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl PatchBody {
    fn read(self) -> Result<SecretPatch, Invalid> {
        let is_disabled = |given: Option<Checked<bool>>| {
            given.map(|flag| flag.0).ok_or_else(|| Invalid::new("disabled", MUST_BE_TRUE_OR_FALSE))
        };
        Ok(SecretPatch {
            name: self.name.map(String::from),
            url: self.url.map(String::from),
            client_id: self.client_id.map(String::from),
            client_secret: self.client_secret.map(|given| {
                given.map(|secret| secret.0).filter(|secret| !secret.expose_secret().is_empty())
            }),
            identifier: self.identifier.map(|given| given.map(String::from).filter(|text| !text.is_empty())),
            method: self.method.map(text_or_empty),
            tags: self.tags.map(|given| given.map(|tags| tags.0.0).unwrap_or_default()),
            notes: self.notes.map(text_or_empty),
            disabled: self.disabled.map(is_disabled).transpose()?,
        })
    }
}

fn text_or_empty<R>(given: Option<Text<R>>) -> String {
    given.map(String::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Result<SecretPatch, Unread> {
        decode_secret_patch(body.to_string().as_bytes())
    }

    /// The field that a body is refused for.
    fn refused(body: &str) -> String {
        match decode_secret_patch(body.as_bytes()) {
            Err(Unread::Invalid(invalid)) => invalid.field,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn what_is_absent_stays_and_null_empties_what_may_be_empty() {
        let patch = read(&json!({})).expect("valid");
        assert!(patch.name.is_none() && patch.identifier.is_none() && patch.tags.is_none());
        let patch = read(&json!({"identifier": null, "client_secret": null, "tags": null, "notes": null}))
            .expect("valid");
        assert_eq!(patch.identifier, Some(None));
        assert!(matches!(patch.client_secret, Some(None)));
        assert_eq!((patch.tags, patch.notes), (Some(vec![]), Some(String::new())));
        let patch = read(&json!({"tags": ["b", "a", "b"]})).expect("valid");
        assert_eq!(patch.tags, Some(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (body, field) in [
            (json!({"name": null}), "name"),
            (json!({"name": ""}), "name"),
            (json!({"url": 7}), "url"),
            (json!({"client_id": ["x"]}), "client_id"),
            (json!({"client_secret": 7}), "client_secret"),
            (json!({"disabled": null}), "disabled"),
            (json!({"disabled": "yes"}), "disabled"),
            (json!({"tags": ["a", ""]}), "tags[1]"),
            (json!({"tags": "a"}), "tags"),
            (json!({"owner": 7}), "owner"),
            (json!({"id": 7}), "id"),
            (json!([1]), "the document"),
        ] {
            assert_eq!(refused(&body.to_string()), field);
        }
    }

    #[test]
    fn a_field_comes_once_and_a_client_secret_with_escapes_is_read() {
        assert_eq!(refused(r#"{"name": "a", "name": "a"}"#), "name");
        assert_eq!(refused(r#"{"client_secret": "a", "client_secret": null}"#), "client_secret");
        assert_eq!(refused(r#"{"client_secret": "\ud800"}"#), "client_secret");
        let patch = decode_secret_patch(r#"{"client_secret": "a\"\u00e7\n"}"#.as_bytes()).expect("valid");
        let value = patch.client_secret.flatten().expect("a value");
        assert_eq!(value.expose_secret(), "a\"ç\n");
    }
}
