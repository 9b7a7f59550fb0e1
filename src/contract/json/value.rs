//! What one value may be, apart from the structs that serde derives.
//!
//! This is the part that serde's own readers cannot do. They put the value that they refuse into the text of the error:
//! it may be a secret, and escaped it may be nearly three times as long as in the message. They take 42.0 for no integer.
//! And they pass over nested values without the limit on depth that all other JSON has here.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::contract::json::invalid::Problem;
use crate::contract::json::name::Name;

/// Begins the text of an error whose rest is in our own words. No text of serde's or serde_json's begins so.
pub(in crate::contract) const REFUSED: &str = "refused: ";
/// Likewise where the value is null; the rest says what it must be.
pub(in crate::contract) const NULL: &str = "null: ";

/// Likewise where a name is longer than any of ours; the rest is its beginning.
pub(in crate::contract) const LONG_NAME: &str = "long name: ";

/// The error that a value is refused, with the reason, which is read after the value's path.
pub(in crate::contract) fn refuse<E: Error>(problem: impl fmt::Display) -> E {
    E::custom(format_args!("{REFUSED}{problem}"))
}

/// A value that a reader of ours makes. By default, each kind of JSON value is refused.
pub(in crate::contract) trait Kind<'de>: Sized {
    /// What is wrong with a value of another kind, to be read after its path.
    const MUST: &'static str;

    /// What stands for a value of another kind.
    ///
    /// # Errors
    /// That no such value may be here.
    fn other() -> Result<Self, Problem> {
        Err(Self::MUST.into())
    }

    /// What null stands for. In an `Option` it is `None` and does not come here.
    fn null<E: Error>() -> Result<Self, E> {
        Err(E::custom(format_args!("{NULL}{}", Self::MUST)))
    }

    fn boolean(_value: bool) -> Result<Self, Problem> {
        Self::other()
    }

    /// A whole number, however it is written: 42.0 and 4.2e1 are 42.
    fn integer(_value: i64) -> Result<Self, Problem> {
        Self::other()
    }

    fn text(_value: &str) -> Result<Self, Problem> {
        Self::other()
    }

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let value = Self::other().map_err(refuse)?;
        while items.next_element::<Checked<Anything>>()?.is_some() {}
        Ok(value)
    }

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        let value = Self::other().map_err(refuse)?;
        while members.next_key_seed(Name)?.is_some() {
            members.next_value::<Checked<Anything>>()?;
        }
        Ok(value)
    }
}

/// Gives a [`Kind`] to serde: the type of a field is `Checked<PrincipalId>`, or `Option<Checked<PrincipalId>>` where
/// it may be absent or null.
#[derive(Default)]
pub(in crate::contract) struct Checked<T>(pub(in crate::contract) T);

impl<'de, T: Kind<'de>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(PhantomData)).map(Self)
    }
}

struct Reader<T>(PhantomData<T>);

/// The largest number up to which a float holds every integer.
const WHOLE: f64 = 9_007_199_254_740_991.0;

impl<'de, T: Kind<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        T::boolean(value).map_err(refuse)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::integer(value).map_err(refuse)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        i64::try_from(value).map_or_else(|_| T::other(), T::integer).map_err(refuse)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        let is_whole = value.fract() == 0.0 && value.abs() <= WHOLE;
        if is_whole { T::integer(value as i64) } else { T::other() }.map_err(refuse)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        T::text(value).map_err(refuse)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        T::null()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::object(members)
    }
}

/// A value that is read over. It is parsed all the same, to the depth that serde_json allows.
pub(in crate::contract) struct Anything;

impl Kind<'_> for Anything {
    const MUST: &'static str = "";

    fn other() -> Result<Self, Problem> {
        Ok(Self)
    }

    fn null<E: Error>() -> Result<Self, E> {
        Ok(Self)
    }
}
