//! Undo: what becomes of each pair, how an undo is ordered, and that it commutes.

mod cases;
mod desk;
mod heirs;
mod orders;
mod races;
mod random;
