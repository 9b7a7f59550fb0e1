//! An error as a problem document (RFC 9457).

use serde::Serialize;

use crate::contract::http::answer::preview::SharePreview;

/// The document. No value of the request and no text of the database stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong with this request.
    pub detail: String,
    /// The field, parameter or header that is wrong. This member is absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What a share would do now, where something else was expected. The member is absent from other problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Box<SharePreview>>,
    /// The status of the answer, once more.
    pub status: u16,
    /// The same text for each problem of this type.
    pub title: &'static str,
    /// A URN: what programs look at.
    #[serde(rename = "type")]
    pub kind: String,
}
