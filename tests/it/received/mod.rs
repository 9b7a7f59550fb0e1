//! What the recipients of a share are told: its note, and an entry for each batch that they received.

mod entries;
mod list;
mod note;
mod opened;
