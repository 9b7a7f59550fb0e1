//! Import of people, groups and secrets from JSON Lines.

mod batch;
mod kinds;
mod lines;
mod rows;
mod run;
mod unsettled;

pub use kinds::{ImportError, Imported, Sealer};
