//! The change of a secret, as HTTP's PATCH sends it.

use secrecy::SecretString;
use serde_json::Value;
use zeroize::Zeroize;

use super::fields::{Fields, Invalid};
use crate::domain::SecretPatch;

const FIELDS: &[&str] =
    &["name", "url", "client_id", "client_secret", "identifier", "method", "tags", "notes", "disabled"];

/// Far more than anybody sorts secrets by.
const MAX_TAGS: usize = 100;

/// Reads a change. A field that is absent stays as it is; null empties what may be empty. A field
/// that is no secret's, or cannot be set, is an error: it would be lost without a word.
///
/// The client secret in `body` is wiped, whatever comes of it.
///
/// # Errors
/// The field that is wrong; never a value.
pub fn decode_secret_patch(mut body: Value) -> Result<SecretPatch, Invalid> {
    let decoded = decode(&body);
    if let Some(Value::String(secret)) = body.get_mut("client_secret") {
        secret.zeroize();
    }
    decoded
}

fn decode(body: &Value) -> Result<SecretPatch, Invalid> {
    let fields = Fields::of(body, "")?;
    fields.only(FIELDS)?;
    let filled = |name: &str| fields.has(name).then(|| fields.required_text(name)).transpose();
    let tags = fields.has("tags").then(|| tags(&fields)).transpose()?;
    Ok(SecretPatch {
        name: filled("name")?,
        url: filled("url")?,
        client_id: filled("client_id")?,
        client_secret: fields
            .has("client_secret")
            .then(|| fields.long_text("client_secret"))
            .transpose()?
            .map(|text| text.filter(|text| !text.is_empty()).map(SecretString::from)),
        identifier: fields
            .has("identifier")
            .then(|| fields.text("identifier"))
            .transpose()?
            .map(|text| text.filter(|text| !text.is_empty())),
        method: fields
            .has("method")
            .then(|| fields.text("method"))
            .transpose()?
            .map(Option::unwrap_or_default),
        tags,
        notes: fields
            .has("notes")
            .then(|| fields.long_text("notes"))
            .transpose()?
            .map(Option::unwrap_or_default),
        disabled: match fields.has("disabled") {
            true => Some(
                fields
                    .boolean("disabled")?
                    .ok_or_else(|| Invalid::new("disabled", "must be true or false"))?,
            ),
            false => None,
        },
    })
}

fn tags(fields: &Fields<'_>) -> Result<Vec<String>, Invalid> {
    let mut tags = fields.texts("tags")?;
    if let Some(index) = tags.iter().position(String::is_empty) {
        return Err(Invalid::new(format!("tags[{index}]"), "must not be empty"));
    }
    if tags.len() > MAX_TAGS {
        return Err(Invalid::new("tags", format!("must not be more than {MAX_TAGS}")));
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_absent_stays_and_null_empties_what_may_be_empty() {
        let patch = decode_secret_patch(json!({})).expect("valid");
        assert!(patch.name.is_none() && patch.identifier.is_none() && patch.tags.is_none());
        let patch = decode_secret_patch(
            json!({"identifier": null, "client_secret": null, "tags": null, "notes": null}),
        )
        .expect("valid");
        assert_eq!(patch.identifier, Some(None));
        assert!(matches!(patch.client_secret, Some(None)));
        assert_eq!((patch.tags, patch.notes), (Some(vec![]), Some(String::new())));
        let patch = decode_secret_patch(json!({"tags": ["b", "a", "b"]})).expect("valid");
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
            assert_eq!(decode_secret_patch(body).expect_err("invalid").field, field);
        }
    }
}
