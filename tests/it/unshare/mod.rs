//! Unshare: what becomes of each pair, how an unshare is asked for, delivered, retried and replayed, and what it does
//! beside a share of the same pairs.

mod asked;
mod beside;
pub mod desk;
mod outcomes;
mod program;
mod random;
mod remaining;
mod rows;
