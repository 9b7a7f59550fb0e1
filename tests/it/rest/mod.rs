//! The rest: exactly the pairs that a job rejected or never came to are shared, and they are told as a set.

mod cases;
mod desk;
mod random;
