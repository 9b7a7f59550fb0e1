//! The CloudEvents envelope as it is written.

use serde::Serialize;

use crate::contract::message::names::{SOURCE, SPECVERSION};
use crate::domain::JobId;

/// An event of ours. It is written straight from this struct: a tree of JSON values of 100,000 ids would be ten times
/// as large. The fields stand in the order of their names, which is the order in which our messages have them.
#[derive(Serialize)]
pub(in crate::contract) struct Written<'a, D> {
    pub(in crate::contract) data: D,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::contract) datacontenttype: Option<&'static str>,
    pub(in crate::contract) id: &'a str,
    pub(in crate::contract) source: &'static str,
    pub(in crate::contract) specversion: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::contract) subject: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::contract) time: Option<String>,
    pub(in crate::contract) traceparent: &'a str,
    #[serde(rename = "type")]
    pub(in crate::contract) kind: &'static str,
}

impl<'a, D: Serialize> Written<'a, D> {
    /// An event with the attributes that each of ours has.
    pub(in crate::contract) fn new(id: &'a str, kind: &'static str, traceparent: &'a str, data: D) -> Self {
        Self {
            data,
            datacontenttype: None,
            id,
            source: SOURCE,
            specversion: SPECVERSION,
            subject: None,
            time: None,
            traceparent,
            kind,
        }
    }

    pub(in crate::contract) fn bytes(&self) -> Vec<u8> {
        // Texts, numbers and lists of them cannot fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
