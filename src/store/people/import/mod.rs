//! Imports people, groups and secrets from JSON Lines.
//!
//! `run` is the import itself: it takes lines from `lines`, writes them by `batch` and `rows`, and has `unsettled`
//! check at the end what could not be checked before. `kinds` has the types.

mod batch;
mod kinds;
mod lines;
mod rows;
mod run;
mod unsettled;

pub use kinds::{ImportError, Imported, Sealer};
