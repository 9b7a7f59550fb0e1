//! Reading JSON straight into structs, member by member. No tree of values is built, so a document costs little
//! more than what is kept of it; and each error names its field.
//!
//! An [`Object`] says what its members are, a [`Kind`] what one value may be. A [`Place`] is where the reader
//! stands: a chain on the stack, from which a path is made only where something is wrong.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::contract::json::invalid::{Invalid, Problem, Unread, shown};

/// Reads a document that is one object. `root` stands before every path of it; empty for none. A byte order mark
/// before it is skipped.
pub(in crate::contract) fn document<'de, O: Object<'de>>(
    body: &'de [u8],
    root: &str,
) -> Result<O::Read, Unread> {
    let read = value(body, root, Fields::<O>(PhantomData))?;
    read.ok_or_else(|| Invalid::new(or_document(root), MUST_BE_AN_OBJECT).into())
}

/// Reads a document of any kind; `None` for null.
pub(in crate::contract) fn value<'de, K: Kind<'de>>(
    body: &'de [u8],
    root: &str,
    kind: K,
) -> Result<Option<K::Value>, Unread> {
    let fault = Cell::new(None);
    let place = Place { before: None, step: Step::Member(root), fault: &fault };
    let mut deserializer = serde_json::Deserializer::from_slice(without_mark(body));
    let read = Reader { kind, place: &place }.deserialize(&mut deserializer);
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| match fault.take() {
        Some(invalid) => Unread::Invalid(invalid),
        None => Unread::NotJson { line: error.line(), column: error.column() },
    })
}

/// The bytes without a UTF-8 byte order mark before them: some editors and SDKs write one.
pub(in crate::contract) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

const MUST_BE_AN_OBJECT: &str = "must be an object";

fn or_document(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}

/// Where a value stands in its document.
#[derive(Clone, Copy)]
pub(in crate::contract) struct Place<'p> {
    before: Option<&'p Place<'p>>,
    step: Step<'p>,
    /// What was found wrong: errors of serde carry only text.
    fault: &'p Cell<Option<Invalid>>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Member(&'p str),
    Item(usize),
}

impl Place<'_> {
    pub(in crate::contract) fn member<'p>(&'p self, name: &'p str) -> Place<'p> {
        Place { before: Some(self), step: Step::Member(name), fault: self.fault }
    }

    pub(in crate::contract) fn item(&self, index: usize) -> Place<'_> {
        Place { before: Some(self), step: Step::Item(index), fault: self.fault }
    }

    fn path(&self) -> String {
        let mut path = self.before.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Item(index) => path.push_str(&format!("[{index}]")),
            Step::Member(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&shown(name));
            }
        }
        path
    }

    /// The error that this value is wrong.
    pub(in crate::contract) fn invalid(&self, problem: impl Into<String>) -> Invalid {
        Invalid::new(or_document(&self.path()), problem)
    }

    /// The error that ends the reading: what is wrong is kept beside it.
    pub(in crate::contract) fn refuse<E: Error>(&self, problem: impl Into<String>) -> E {
        self.end(self.invalid(problem))
    }

    fn end<E: Error>(&self, invalid: Invalid) -> E {
        self.fault.set(Some(invalid));
        E::custom("refused")
    }
}

/// What a member is, once the object is read.
#[derive(Default)]
pub(in crate::contract) enum Once<T> {
    #[default]
    Absent,
    Null,
    Is(T),
}

impl<T> Once<T> {
    pub(in crate::contract) fn came(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value; `None` where it is absent or null.
    pub(in crate::contract) fn some(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value of the member `name` of the object at `place`.
    pub(in crate::contract) fn required(self, place: &Place<'_>, name: &str) -> Result<T, Invalid> {
        self.some().ok_or_else(|| place.member(name).invalid("is missing"))
    }
}

/// An object of a contract, filled member by member.
pub(in crate::contract) trait Object<'de>: Default {
    /// What it is, once it is whole.
    type Read;

    /// Reads the value of the member of this name.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error>;

    /// Called behind the last member.
    fn whole(self, place: &Place<'_>) -> Result<Self::Read, Invalid>;
}

/// A member whose name is read, and whose value is next.
pub(in crate::contract) struct Member<'m, A> {
    members: &'m mut A,
    place: &'m Place<'m>,
}

impl<'m, 'de, A: MapAccess<'de>> Member<'m, A> {
    pub(in crate::contract) fn read<K: Kind<'de>>(
        self,
        kind: K,
        into: &mut Once<K::Value>,
    ) -> Result<(), A::Error> {
        if into.came() {
            return Err(self.place.refuse("came more than once"));
        }
        let read = self.members.next_value_seed(Reader { kind, place: self.place })?;
        *into = read.map_or(Once::Null, Once::Is);
        Ok(())
    }

    /// Whatever it is, as the text that it stands as.
    pub(in crate::contract) fn raw(self) -> Result<Once<&'de RawValue>, A::Error> {
        Ok(self.members.next_value::<Option<_>>()?.map_or(Once::Null, Once::Is))
    }

    /// Reads what a reader of this kind makes of it; none of null.
    pub(in crate::contract) fn value<K: Kind<'de>>(self, kind: K) -> Result<Option<K::Value>, A::Error> {
        self.members.next_value_seed(Reader { kind, place: self.place })
    }

    /// Reads over it.
    pub(in crate::contract) fn skip(self) -> Result<(), A::Error> {
        self.value(Anything).map(drop)
    }

    /// There is no such member: what it was to do would be lost without a word.
    pub(in crate::contract) fn unknown(self) -> Result<(), A::Error> {
        Err(self.place.refuse(UNKNOWN))
    }

    pub(in crate::contract) fn place(&self) -> Place<'m> {
        *self.place
    }
}

pub(in crate::contract) const UNKNOWN: &str = "is not a field that can be set";

/// What one value may be. Numbers arrive as integers where they are whole: 42.0 is 42.
pub(in crate::contract) trait Kind<'de>: Sized {
    type Value;

    /// A value of any other kind: what is wrong with it, or what stands for it.
    fn other(self) -> Result<Self::Value, Problem>;

    fn boolean(self, _value: bool) -> Result<Self::Value, Problem> {
        self.other()
    }

    fn integer(self, _value: i64) -> Result<Self::Value, Problem> {
        self.other()
    }

    fn text(self, _value: &str) -> Result<Self::Value, Problem> {
        self.other()
    }

    fn list<A: SeqAccess<'de>>(self, mut items: A, place: &Place<'_>) -> Result<Self::Value, A::Error> {
        let value = self.other().map_err(|problem| place.refuse(problem))?;
        while items.next_element_seed(Reader { kind: Anything, place })?.is_some() {}
        Ok(value)
    }

    fn object<A: MapAccess<'de>>(self, mut members: A, place: &Place<'_>) -> Result<Self::Value, A::Error> {
        let value = self.other().map_err(|problem| place.refuse(problem))?;
        while members.next_key_seed(Name)?.is_some() {
            members.next_value_seed(Reader { kind: Anything, place })?;
        }
        Ok(value)
    }
}

/// A value that is read over. It is parsed all the same, to the depth that serde_json allows.
#[derive(Clone, Copy)]
pub(in crate::contract) struct Anything;

impl Kind<'_> for Anything {
    type Value = ();

    fn other(self) -> Result<(), Problem> {
        Ok(())
    }
}

/// An object.
pub(in crate::contract) struct Fields<O>(pub(in crate::contract) PhantomData<O>);

impl<'de, O: Object<'de>> Kind<'de> for Fields<O> {
    type Value = O::Read;

    fn other(self) -> Result<O::Read, Problem> {
        Err(MUST_BE_AN_OBJECT.into())
    }

    fn object<A: MapAccess<'de>>(self, mut members: A, place: &Place<'_>) -> Result<O::Read, A::Error> {
        let mut object = O::default();
        while let Some(name) = members.next_key_seed(Name)? {
            let place = place.member(&name);
            object.member(&name, Member { members: &mut members, place: &place })?;
        }
        object.whole(place).map_err(|invalid| place.end(invalid))
    }
}

/// One item of a list; null is none.
pub(in crate::contract) fn item<'de, K, A>(
    items: &mut A,
    kind: fn() -> K,
    place: &Place<'_>,
) -> Result<Option<K::Value>, A::Error>
where
    K: Kind<'de>,
    A: SeqAccess<'de>,
{
    match items.next_element_seed(Reader { kind: kind(), place })? {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => kind().other().map(Some).map_err(|problem| place.refuse(problem)),
    }
}

/// Reads a value of a kind; `None` for null.
struct Reader<'p, K> {
    kind: K,
    place: &'p Place<'p>,
}

impl<'de, K: Kind<'de>> DeserializeSeed<'de> for Reader<'_, K> {
    type Value = Option<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<K> Reader<'_, K> {
    fn held<T, E: Error>(place: &Place<'_>, read: Result<T, Problem>) -> Result<Option<T>, E> {
        read.map(Some).map_err(|problem| place.refuse(problem))
    }
}

/// The largest number up to which a float holds every integer.
const WHOLE: f64 = 9_007_199_254_740_991.0;

impl<'de, K: Kind<'de>> Visitor<'de> for Reader<'_, K> {
    type Value = Option<K::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Self::held(self.place, self.kind.boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Self::held(self.place, self.kind.integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        let read = match i64::try_from(value) {
            Ok(value) => self.kind.integer(value),
            Err(_) => self.kind.other(),
        };
        Self::held(self.place, read)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let whole = value.fract() == 0.0 && value.abs() <= WHOLE;
        let read = if whole { self.kind.integer(value as i64) } else { self.kind.other() };
        Self::held(self.place, read)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Self::held(self.place, self.kind.text(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.kind.list(items, self.place).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        self.kind.object(members, self.place).map(Some)
    }
}

/// The name of a member. One that is written with escapes is copied, as far as it can be the name of a field.
struct Name;

/// Characters: more than any name of ours has, and than are shown of another's.
const LONGEST_NAME: usize = 200;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.chars().take(LONGEST_NAME).collect()))
    }
}
