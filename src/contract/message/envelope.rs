//! The CloudEvents envelope. It is open to extensions, so what is unknown in it is read over; its data is read
//! by whoever knows the type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use crate::contract::json::invalid::{Invalid, Problem, Unread};
use crate::contract::json::kinds::{Lenient, Text};
use crate::contract::json::read::{Member, Object, Once, Place, document};

/// The attributes that are ours or CloudEvents' own.
pub(in crate::contract) const ATTRIBUTES: [&str; 9] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "datacontenttype",
    "dataschema",
    "traceparent",
];

/// An event. What is wrong with an attribute is told when it is asked for, and so in one order whatever the
/// order of the members: an event of a type that is not ours may have other attributes.
#[derive(Default)]
pub(in crate::contract) struct Envelope<'de> {
    attributes: [Once<Result<String, Problem>>; ATTRIBUTES.len()],
    data: Once<&'de RawValue>,
    data_base64: Once<Result<Vec<u8>, Problem>>,
    /// The first member that came a second time.
    twice: Option<&'static str>,
}

/// The data of an event: JSON, as part of the event or decoded from base64.
pub(in crate::contract) enum Data<'de> {
    Inline(&'de RawValue),
    Decoded(Vec<u8>),
}

impl<'de> Envelope<'de> {
    pub(in crate::contract) fn read(body: &'de [u8]) -> Result<Self, Unread> {
        document::<Self>(body, "")
    }

    fn attribute(&mut self, name: &str) -> Once<Result<String, Problem>> {
        let index = ATTRIBUTES.iter().position(|known| *known == name);
        index.map(|index| std::mem::take(&mut self.attributes[index])).unwrap_or_default()
    }

    /// An attribute that is there and not empty.
    pub(in crate::contract) fn required(&mut self, name: &'static str) -> Result<String, Invalid> {
        let text = self.attribute(name).some().ok_or_else(|| Invalid::new(name, "is missing"))?;
        let text = text.map_err(|problem| Invalid::new(name, problem))?;
        if text.is_empty() { Err(Invalid::new(name, "must not be empty")) } else { Ok(text) }
    }

    /// An attribute that may be missing, and is as good as missing where it is wrong.
    pub(in crate::contract) fn optional(&mut self, name: &'static str) -> Option<String> {
        self.attribute(name).some()?.ok()
    }

    /// The data. A member that came twice is told here: which of the two was meant, nobody knows.
    pub(in crate::contract) fn data(&mut self) -> Result<Data<'de>, Invalid> {
        if let Some(name) = self.twice {
            return Err(Invalid::new(name, "came more than once"));
        }
        match (std::mem::take(&mut self.data).some(), std::mem::take(&mut self.data_base64).some()) {
            (None, None) => Err(Invalid::new("data", "is missing")),
            (Some(_), Some(_)) => Err(Invalid::new("data_base64", "must not come together with data")),
            (Some(data), None) => Ok(Data::Inline(data)),
            (None, Some(Ok(data))) => Ok(Data::Decoded(data)),
            (None, Some(Err(problem))) => Err(Invalid::new("data_base64", problem)),
        }
    }
}

impl<'de> Object<'de> for Envelope<'de> {
    type Read = Self;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        let mut twice = |came: bool, name: &'static str| {
            if came {
                self.twice.get_or_insert(name);
            }
        };
        match name {
            "data" => {
                twice(self.data.came(), "data");
                self.data = member.raw()?;
            }
            "data_base64" => {
                twice(self.data_base64.came(), "data_base64");
                self.data_base64 = member.value(Lenient(from_base64))?.map_or(Once::Null, Once::Is);
            }
            _ => match ATTRIBUTES.iter().position(|known| *known == name) {
                Some(index) => {
                    twice(self.attributes[index].came(), ATTRIBUTES[index]);
                    self.attributes[index] = member.value(Lenient(attribute))?.map_or(Once::Null, Once::Is);
                }
                None => member.skip()?,
            },
        }
        Ok(())
    }

    fn whole(self, _place: &Place<'_>) -> Result<Self, Invalid> {
        Ok(self)
    }
}

impl Data<'_> {
    pub(in crate::contract) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(raw) => raw.get().as_bytes(),
            Self::Decoded(bytes) => bytes,
        }
    }

    /// Reads the data of a message of ours.
    pub(in crate::contract) fn read<O: for<'de> Object<'de, Read = R>, R>(&self) -> Result<R, Unread> {
        document::<O>(self.bytes(), "data")
    }
}

fn attribute(text: &str) -> Result<String, Problem> {
    Text::Line.check(text).map(|()| text.to_owned())
}

/// Data that came as base64.
pub(in crate::contract) fn from_base64(text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|_| "is not base64".into())
}
