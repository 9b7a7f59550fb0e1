//! The worker: takes requests and steps, applies grants, and records what became of them.
//!
//! The path of a request is in handle.rs, and that of a large job's lane in lane.rs; read them from top to bottom. Orders
//! about jobs are in orders.rs, dead letters in dead_letters.rs, and the timer of retries in due.rs.

mod aside;
mod checks;
mod dead_letters;
mod due;
mod ends;
mod handle;
mod lane;
mod options;
mod orders;
mod run;
mod state;
mod structured;

pub use options::WorkerOptions;
pub use run::run;
pub use state::Worker;
