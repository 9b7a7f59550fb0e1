//! Pages of listings.

use crate::contract::answer::Page;
use crate::contract::write_cursor;

/// A page of at most `limit` rows, out of up to `limit + 1` that were read: the one too many says that there is a
/// next page. `place` is where a row stands in the order of the listing, as a text.
pub(super) fn page<Row, Item>(
    mut rows: Vec<Row>,
    limit: usize,
    place: impl Fn(&Row) -> String,
    item: impl Fn(Row) -> Item,
) -> Page<Item> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| write_cursor(&place(last)));
    Page { items: rows.into_iter().map(item).collect(), next_cursor }
}

/// A page whose next one begins at this number.
pub(super) fn numbered<Item>(items: Vec<Item>, next: Option<i64>) -> Page<Item> {
    Page { items, next_cursor: next.map(|next| write_cursor(&next.to_string())) }
}
