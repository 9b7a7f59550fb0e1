//! The step: a message of ours to ourselves that wakes a lane of a large job.

use serde::{Deserialize, Serialize};

use crate::contract::json::invalid::Invalid;
use crate::contract::json::read::document;
use crate::contract::json::value::Checked;
use crate::contract::message::envelope::{Envelope, own};
use crate::contract::message::names::STEP_TYPE;
use crate::contract::message::written::Written;
use crate::domain::JobId;

/// Which lane to wake, and at which turn: a step of another run or turn does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub job_id: JobId,
    pub run: i32,
    pub lane: i32,
    pub turn: i32,
}

impl Step {
    /// The message's id: the same for the same turn.
    #[must_use]
    pub fn message_id(&self) -> String {
        format!("{}/{}/{}/{}", self.job_id, self.run, self.lane, self.turn)
    }
}

/// The data of a step as it is written, in the order of the fields' names.
#[derive(Serialize)]
struct WrittenStep {
    job_id: JobId,
    lane: i32,
    run: i32,
    turn: i32,
}

/// The data of a step as it is read. A newer release may add fields, which are read over.
#[derive(Deserialize)]
struct StepData {
    job_id: Checked<JobId>,
    run: Checked<i32>,
    lane: Checked<i32>,
    turn: Checked<i32>,
}

/// Writes a step.
#[must_use]
pub fn encode_step(step: &Step, traceparent: &str) -> Vec<u8> {
    let Step { job_id, run, lane, turn } = *step;
    let data = WrittenStep { job_id, lane, run, turn };
    Written::new(&step.message_id(), STEP_TYPE, traceparent, data).bytes()
}

/// Reads a step.
///
/// # Errors
/// Which field is wrong.
pub fn decode_step(body: &[u8]) -> Result<Step, Invalid> {
    const WHAT: &str = "the step";
    let mut event = own(Envelope::read(body), WHAT)?;
    if event.required("type")? != STEP_TYPE {
        return Err(Invalid::new("type", format!("is not {STEP_TYPE}")));
    }
    let data: StepData = own(document(event.data()?.bytes(), "data"), WHAT)?;
    Ok(Step { job_id: data.job_id.0, run: data.run.0, lane: data.lane.0, turn: data.turn.0 })
}
