//! Undo: what becomes of each pair, how an undo is ordered, and that it commutes.

mod cases;
mod desk;
mod orders;
mod races;
mod random;
