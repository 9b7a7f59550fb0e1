//! Imports people, groups and secrets from JSON Lines: `lines` reads, `batch` and `rows` write, `unsettled` checks at the end.

mod batch;
mod kinds;
mod lines;
mod rows;
mod run;
mod unsettled;

pub use kinds::{ImportError, Imported, Sealer};
