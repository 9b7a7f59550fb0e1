//! The change of a secret, as HTTP's PATCH sends it.

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::MapAccess;

use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::{Flag, Kept, Tags, secret};
use crate::contract::json::read::{Member, Object, Once, Place, document};
use crate::domain::{SecretPatch, text};

/// Reads a change. A field that is absent stays as it is; null empties what may be empty. A field
/// that is no secret's, or cannot be set, is an error: it would be lost without a word.
///
/// The client secret is in `body` in the clear, which the caller wipes, and in no other memory that is not wiped.
///
/// # Errors
/// That it is no JSON, or the field that is wrong; never a value.
pub fn decode_secret_patch(body: &[u8]) -> Result<SecretPatch, Unread> {
    document::<Patch>(body, "")
}

#[derive(Default)]
struct Patch {
    name: Once<String>,
    url: Once<String>,
    client_id: Once<String>,
    client_secret: Once<SecretString>,
    identifier: Once<String>,
    method: Once<String>,
    tags: Once<Vec<String>>,
    notes: Once<String>,
    disabled: Once<bool>,
}

impl<'de> Object<'de> for Patch {
    type Read = SecretPatch;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "name" => member.read(Kept(text::name), &mut self.name),
            "url" => member.read(Kept(text::url), &mut self.url),
            "client_id" => member.read(Kept(text::client_id), &mut self.client_id),
            "client_secret" => secret(member, &mut self.client_secret),
            "identifier" => member.read(Kept(text::identifier), &mut self.identifier),
            "method" => member.read(Kept(text::method), &mut self.method),
            "tags" => member.read(Tags, &mut self.tags),
            "notes" => member.read(Kept(text::notes), &mut self.notes),
            "disabled" => member.read(Flag, &mut self.disabled),
            _ => member.unknown(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<SecretPatch, Invalid> {
        let filled = |of: Once<String>, name| match of {
            Once::Absent => Ok(None),
            of => of.required(place, name).map(Some),
        };
        Ok(SecretPatch {
            name: filled(self.name, "name")?,
            url: filled(self.url, "url")?,
            client_id: filled(self.client_id, "client_id")?,
            client_secret: changed(self.client_secret, |text| !text.expose_secret().is_empty()),
            identifier: changed(self.identifier, |text| !text.is_empty()),
            method: changed(self.method, |_| true).map(Option::unwrap_or_default),
            tags: changed(self.tags, |_| true).map(Option::unwrap_or_default),
            notes: changed(self.notes, |_| true).map(Option::unwrap_or_default),
            disabled: match self.disabled {
                Once::Absent => None,
                Once::Null => return Err(place.member("disabled").invalid("must be true or false")),
                Once::Is(disabled) => Some(disabled),
            },
        })
    }
}

/// `None` where the field did not come, `Some(None)` where it is emptied.
fn changed<T>(of: Once<T>, filled: impl Fn(&T) -> bool) -> Option<Option<T>> {
    of.came().then(|| of.some().filter(filled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
