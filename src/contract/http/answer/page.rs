//! One page of a listing.

use serde::Serialize;

/// One page of a listing, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What the client sends as `cursor` to read the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}
