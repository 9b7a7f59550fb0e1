//! The step: a message of ours to ourselves that wakes a lane of a large job.

use serde::de::MapAccess;
use serde_json::json;

use crate::contract::SOURCE;
use crate::contract::json::invalid::Invalid;
use crate::contract::json::kinds::{JOB_ID, Number};
use crate::contract::json::read::{Member, Object, Once, Place};
use crate::contract::message::envelope::Envelope;
use crate::contract::message::event::own;
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
    let mut event = own(Envelope::read(body), "the step")?;
    if event.required("type")? != STEP_TYPE {
        return Err(Invalid::new("type", format!("is not {STEP_TYPE}")));
    }
    own(event.data()?.read::<StepData, _>(), "the step")
}

/// What is read of a step. A newer release may say more.
#[derive(Default)]
struct StepData {
    job_id: Once<JobId>,
    run: Once<i32>,
    lane: Once<i32>,
    turn: Once<i32>,
}

impl<'de> Object<'de> for StepData {
    type Read = Step;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        let number = Number("must be a number");
        match name {
            "job_id" => member.read(JOB_ID, &mut self.job_id),
            "run" => member.read(number, &mut self.run),
            "lane" => member.read(number, &mut self.lane),
            "turn" => member.read(number, &mut self.turn),
            _ => member.skip(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<Step, Invalid> {
        Ok(Step {
            job_id: self.job_id.required(place, "job_id")?,
            run: self.run.required(place, "run")?,
            lane: self.lane.required(place, "lane")?,
            turn: self.turn.required(place, "turn")?,
        })
    }
}
