//! What a message names, whatever is wrong with it: the job's id and who asks for it. A job is failed by them, so
//! that the requester hears of it.

use std::marker::PhantomData;

use serde::de::MapAccess;

use crate::contract::json::invalid::{Invalid, Problem, Unread};
use crate::contract::json::kinds::Lenient;
use crate::contract::json::read::{Fields, Kind, Member, Object, Place, value};
use crate::contract::message::envelope::from_base64;
use crate::domain::{JobId, PrincipalId};

/// Both as far as the message tells them. What came twice tells nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::contract) struct Named {
    pub(in crate::contract) job_id: Option<JobId>,
    pub(in crate::contract) requested_by: Option<PrincipalId>,
}

/// Reads the whole body over: its JSON is held against every rule of JSON, and nothing else is.
///
/// # Errors
/// The place where it is no JSON.
pub(in crate::contract) fn named(body: &[u8]) -> Result<Named, Unread> {
    Ok(value(body, "", Over::<Message>(PhantomData))?.unwrap_or_default())
}

/// An object where it is one, and its default where it is anything else.
pub(in crate::contract) struct Over<O>(pub(in crate::contract) PhantomData<O>);

impl<'de, O: Object<'de, Read: Default>> Kind<'de> for Over<O> {
    type Value = O::Read;

    fn other(self) -> Result<O::Read, Problem> {
        Ok(O::Read::default())
    }

    fn object<A: MapAccess<'de>>(self, members: A, place: &Place<'_>) -> Result<O::Read, A::Error> {
        Fields::<O>(PhantomData).object(members, place)
    }
}

/// What a member tells that is to come once.
#[derive(Default)]
enum Sole<T> {
    #[default]
    Absent,
    Is(T),
    /// It is nothing that is looked for, or came again.
    Lost,
}

impl<T> Sole<T> {
    fn set(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Self::Absent, Some(value)) => Self::Is(value),
            _ => Self::Lost,
        };
    }

    fn get(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Lost => None,
        }
    }
}

#[derive(Default)]
struct Message {
    id: Sole<JobId>,
    data: Sole<PrincipalId>,
}

impl<'de> Object<'de> for Message {
    type Read = Named;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "id" => self.id.set(member.value(Lenient(job_id))?.and_then(Result::ok)),
            "data" => self.data.set(member.value(Over::<Data>(PhantomData))?.flatten()),
            "data_base64" => {
                let data = member.value(Lenient(from_base64))?.and_then(Result::ok);
                let read = data.map(|data| value(&data, "", Over::<Data>(PhantomData)));
                self.data.set(read.and_then(|read| read.ok().flatten().flatten()));
            }
            _ => member.skip()?,
        }
        Ok(())
    }

    fn whole(self, _place: &Place<'_>) -> Result<Named, Invalid> {
        Ok(Named { job_id: self.id.get(), requested_by: self.data.get() })
    }
}

fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|()| "must be a UUID".into())
}

#[derive(Default)]
struct Data {
    requested_by: Sole<PrincipalId>,
}

impl<'de> Object<'de> for Data {
    type Read = Option<PrincipalId>;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "requested_by" => self.requested_by.set(member.value(MaybeId)?.flatten()),
            _ => member.skip()?,
        }
        Ok(())
    }

    fn whole(self, _place: &Place<'_>) -> Result<Self::Read, Invalid> {
        Ok(self.requested_by.get())
    }
}

/// An id, where it is one.
struct MaybeId;

impl Kind<'_> for MaybeId {
    type Value = Option<PrincipalId>;

    fn other(self) -> Result<Self::Value, Problem> {
        Ok(None)
    }

    fn integer(self, number: i64) -> Result<Self::Value, Problem> {
        Ok(PrincipalId::new(number))
    }
}
