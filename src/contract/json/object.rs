//! An object of a contract: a struct whose `Deserialize` is derived.

use serde::Deserialize;
use serde::de::value::{CowStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess};

use crate::contract::json::name::{LONGEST_NAME, Name};
use crate::contract::json::value::{Checked, Kind, LONG_NAME};

/// An object. What serde derives for a struct would also take an array of its values in order, which is not part of
/// any contract of ours, and so only an object is let through to it.
pub(in crate::contract) type Object<T> = Checked<Fields<T>>;

/// The fields of an object.
#[derive(Default)]
pub(in crate::contract) struct Fields<T>(pub(in crate::contract) T);

impl<'de, T: Deserialize<'de>> Kind<'de> for Fields<T> {
    const MUST: &'static str = "must be an object";

    fn object<A: MapAccess<'de>>(members: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(ShortNames(members))).map(Self)
    }
}

/// The members of an object, with names of a bounded length: serde repeats a name that it does not know in its error,
/// and the sender decides how long that name is.
struct ShortNames<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for ShortNames<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(Named(seed))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// Gives the name of a member to a reader of names.
struct Named<K>(K);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Named<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        let name = Name.deserialize(deserializer)?;
        if name.len() >= LONGEST_NAME {
            return Err(D::Error::custom(format_args!("{LONG_NAME}{name}")));
        }
        self.0.deserialize(CowStrDeserializer::new(name))
    }
}
