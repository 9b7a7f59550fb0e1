//! What a share would do, foreseen by the rules of the job itself.

pub mod program;
mod random;
mod seen;
