//! The CloudEvents envelope as it is read. It is open to extensions, so a member that we do not know is read over; the
//! data is read by whoever knows the type.
//!
//! The envelope is read by hand and not by serde's derive, for two reasons. What is wrong with an attribute may not
//! matter, because an event of a type that is not ours may have other attributes; so a fault is kept and told only
//! when the attribute is asked for. And what serde's derive reads over has no limit on its depth.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use crate::contract::json::invalid::{CAME_TWICE, Invalid, Problem, Unread};
use crate::contract::json::kinds::{MUST_BE_A_TEXT, line};
use crate::contract::json::name::Name;
use crate::contract::json::read::value;
use crate::contract::json::value::{Anything, Checked, Kind};

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

/// An event. Faults in it are told in one order, whatever the order of its members.
#[derive(Default)]
pub(in crate::contract) struct Envelope<'de> {
    attributes: [Member<Attribute>; ATTRIBUTES.len()],
    data: Member<&'de RawValue>,
    data_base64: Member<Base64>,
}

/// A member that may come once.
#[derive(Default)]
enum Member<T> {
    #[default]
    Absent,
    Null,
    Is(T),
    /// It came again, and nobody knows which of the two was meant.
    Twice,
}

impl<T> Member<T> {
    fn set(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Self::Absent, None) => Self::Null,
            (Self::Absent, Some(value)) => Self::Is(value),
            _ => Self::Twice,
        };
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn is_twice(&self) -> bool {
        matches!(self, Self::Twice)
    }
}

/// The text of an attribute, or what is wrong with it.
struct Attribute(Result<String, Problem>);

impl Kind<'_> for Attribute {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn other() -> Result<Self, Problem> {
        Ok(Self(Err(Self::MUST.into())))
    }

    fn text(text: &str) -> Result<Self, Problem> {
        Ok(Self(line(text).map(ToOwned::to_owned)))
    }
}

/// Bytes that came as base64, or what is wrong with them.
struct Base64(Result<Vec<u8>, Problem>);

impl Kind<'_> for Base64 {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn other() -> Result<Self, Problem> {
        Ok(Self(Err(Self::MUST.into())))
    }

    fn text(text: &str) -> Result<Self, Problem> {
        Ok(Self(STANDARD.decode(text).map_err(|_| "is not base64".into())))
    }
}

/// The data of an event: JSON that is part of the event, or that was decoded from base64.
pub(in crate::contract) enum Data<'de> {
    Inline(&'de RawValue),
    Decoded(Vec<u8>),
}

impl Data<'_> {
    pub(in crate::contract) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(raw) => raw.get().as_bytes(),
            Self::Decoded(bytes) => bytes,
        }
    }
}

impl<'de> Kind<'de> for Envelope<'de> {
    const MUST: &'static str = "must be an object";

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        let mut event = Self::default();
        while let Some(name) = members.next_key_seed(Name)? {
            match (&*name, ATTRIBUTES.iter().position(|known| *known == name)) {
                ("data", _) => event.data.set(members.next_value()?),
                ("data_base64", _) => event.data_base64.set(unchecked(members.next_value()?)),
                (_, Some(index)) => event.attributes[index].set(unchecked(members.next_value()?)),
                (_, None) => {
                    members.next_value::<Checked<Anything>>()?;
                }
            }
        }
        Ok(event)
    }
}

fn unchecked<T>(value: Option<Checked<T>>) -> Option<T> {
    value.map(|value| value.0)
}

impl<'de> Envelope<'de> {
    /// Reads an event.
    ///
    /// # Errors
    /// Where the body is not JSON, or that it is no object.
    pub(in crate::contract) fn read(body: &'de [u8]) -> Result<Self, Unread> {
        value::<Checked<Self>>(body, "").map(|event| event.0)
    }

    fn attribute(&mut self, name: &str) -> Member<Attribute> {
        let index = ATTRIBUTES.iter().position(|known| *known == name);
        index.map(|index| self.attributes[index].take()).unwrap_or_default()
    }

    /// Takes an attribute that has to be there and may not be empty.
    pub(in crate::contract) fn required(&mut self, name: &'static str) -> Result<String, Invalid> {
        match self.attribute(name) {
            Member::Absent | Member::Null => Err(Invalid::new(name, "is missing")),
            Member::Twice => Err(Invalid::new(name, CAME_TWICE)),
            Member::Is(Attribute(Err(problem))) => Err(Invalid::new(name, problem)),
            Member::Is(Attribute(Ok(text))) if text.is_empty() => {
                Err(Invalid::new(name, "must not be empty"))
            }
            Member::Is(Attribute(Ok(text))) => Ok(text),
        }
    }

    /// Takes an attribute that may be missing, and that counts as missing where it is wrong.
    pub(in crate::contract) fn optional(&mut self, name: &'static str) -> Option<String> {
        match self.attribute(name) {
            Member::Is(attribute) => attribute.0.ok(),
            Member::Absent | Member::Null | Member::Twice => None,
        }
    }

    /// Takes the data. An attribute that came twice is an error here, also where nobody asked for it.
    pub(in crate::contract) fn data(&mut self) -> Result<Data<'de>, Invalid> {
        let is_twice =
            |(name, attribute): (&'static str, &Member<Attribute>)| attribute.is_twice().then_some(name);
        let twice = ATTRIBUTES.into_iter().zip(&self.attributes).find_map(is_twice);
        twice.map_or_else(|| self.data_alone(), |name| Err(Invalid::new(name, CAME_TWICE)))
    }

    /// Takes the data, whatever is wrong with the attributes.
    pub(in crate::contract) fn data_alone(&mut self) -> Result<Data<'de>, Invalid> {
        match (self.data.take(), self.data_base64.take()) {
            (Member::Twice, _) => Err(Invalid::new("data", CAME_TWICE)),
            (_, Member::Twice) => Err(Invalid::new("data_base64", CAME_TWICE)),
            (Member::Is(_), Member::Is(_)) => {
                Err(Invalid::new("data_base64", "must not come together with data"))
            }
            (Member::Is(data), _) => Ok(Data::Inline(data)),
            (_, Member::Is(Base64(Ok(data)))) => Ok(Data::Decoded(data)),
            (_, Member::Is(Base64(Err(problem)))) => Err(Invalid::new("data_base64", problem)),
            _ => Err(Invalid::new("data", "is missing")),
        }
    }
}

/// Of our own messages, nobody looks for the place where one is not JSON.
pub(in crate::contract) fn own<T>(read: Result<T, Unread>, what: &str) -> Result<T, Invalid> {
    read.map_err(|error| match error {
        Unread::Invalid(invalid) => invalid,
        Unread::NotJson { .. } => Invalid::new(what, "is not JSON"),
    })
}
