//! The step: a message of ours to ourselves that wakes a lane of a large job.

use serde_json::{Value, json};

use super::SOURCE;
use super::fields::{Fields, Invalid};
use crate::domain::JobId;

/// Which lane to wake, and at which turn: a step of another run or turn does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub job_id: JobId,
    pub run: i32,
    pub lane: i32,
    pub turn: i32,
}

/// The `type` of a step. Internal: not part of the public contract.
pub const STEP_TYPE: &str = "batchshare.job.step.v1";

impl Step {
    /// The message's id: the same for the same turn.
    #[must_use]
    pub fn message_id(&self) -> String {
        format!("{}/{}/{}/{}", self.job_id, self.run, self.lane, self.turn)
    }
}

/// Writes a step.
#[must_use]
pub fn encode_step(step: &Step, traceparent: &str) -> Vec<u8> {
    json!({
        "specversion": "1.0",
        "id": step.message_id(),
        "source": SOURCE,
        "type": STEP_TYPE,
        "traceparent": traceparent,
        "data": {"job_id": step.job_id, "run": step.run, "lane": step.lane, "turn": step.turn},
    })
    .to_string()
    .into_bytes()
}

/// Reads a step.
///
/// # Errors
/// The field that is wrong.
pub fn decode_step(body: &[u8]) -> Result<Step, Invalid> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Invalid::new("the step", "is not JSON"))?;
    let event = Fields::of(&value, "")?;
    if event.required_text("type")? != STEP_TYPE {
        return Err(Invalid::new("type", format!("is not {STEP_TYPE}")));
    }
    let data = event.object("data")?;
    let number = |name: &str| {
        data.required(name)?
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(|| Invalid::new(data.path(name), "must be a number"))
    };
    let job_id =
        data.required_text("job_id")?.parse().map_err(|()| Invalid::new("data.job_id", "must be a UUID"))?;
    Ok(Step { job_id, run: number("run")?, lane: number("lane")?, turn: number("turn")? })
}
