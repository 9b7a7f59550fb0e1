//! What the values of our documents may be: texts, ids, numbers, lists.

use std::marker::PhantomData;

use secrecy::SecretString;
use serde::de::{MapAccess, SeqAccess};
use zeroize::Zeroizing;

use crate::contract::json::invalid::Problem;
use crate::contract::json::read::{Fields, Kind, Member, Object, Once, Place, item};
use crate::domain::ids::{JobId, MAX_ID};
use crate::domain::text;
use crate::domain::text::TextError;

/// The longest text of one field, in bytes, where it has no rule of its own (see [`Kept`]).
const MAX_TEXT: usize = 16 * 1024;

/// A text.
#[derive(Clone, Copy)]
pub(in crate::contract) enum Text {
    /// Without control characters (neither database's business, and PostgreSQL keeps no NUL).
    Line,
    /// The same, and not empty.
    Filled,
}

impl Text {
    /// Holds a text against its rule.
    pub(in crate::contract) fn check(self, text: &str) -> Result<(), Problem> {
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".into());
        }
        if text.len() > MAX_TEXT {
            return Err(format!("must not be longer than {MAX_TEXT} bytes").into());
        }
        if matches!(self, Self::Filled) && text.is_empty() {
            return Err("must not be empty".into());
        }
        Ok(())
    }
}

const MUST_BE_A_TEXT: &str = "must be a text";

impl Kind<'_> for Text {
    type Value = String;

    fn other(self) -> Result<String, Problem> {
        Err(MUST_BE_A_TEXT.into())
    }

    fn text(self, text: &str) -> Result<String, Problem> {
        self.check(text).map(|()| text.to_owned())
    }
}

/// A text by a rule of its own, in the form in which it is kept.
#[derive(Clone, Copy)]
pub(in crate::contract) struct Kept(pub(in crate::contract) fn(&str) -> Result<String, TextError>);

impl Kind<'_> for Kept {
    type Value = String;

    fn other(self) -> Result<String, Problem> {
        Err(MUST_BE_A_TEXT.into())
    }

    fn text(self, text: &str) -> Result<String, Problem> {
        (self.0)(text).map_err(|error| error.to_string().into())
    }
}

/// A text that names one of a few things.
pub(in crate::contract) struct OneOf<T> {
    pub(in crate::contract) text: Text,
    pub(in crate::contract) find: fn(&str) -> Option<T>,
    pub(in crate::contract) else_must: &'static str,
}

impl<T> Kind<'_> for OneOf<T> {
    type Value = T;

    fn other(self) -> Result<T, Problem> {
        Err(MUST_BE_A_TEXT.into())
    }

    fn text(self, text: &str) -> Result<T, Problem> {
        self.text.check(text)?;
        (self.find)(text).ok_or_else(|| self.else_must.into())
    }
}

/// The id of a job.
pub(in crate::contract) const JOB_ID: OneOf<JobId> =
    OneOf { text: Text::Filled, find: |text| text.parse().ok(), else_must: "must be a UUID" };

/// A text that nothing depends on: whatever else it is, the document is read on.
pub(in crate::contract) struct Lenient<T>(pub(in crate::contract) fn(&str) -> Result<T, Problem>);

impl<T> Kind<'_> for Lenient<T> {
    type Value = Result<T, Problem>;

    fn other(self) -> Result<Self::Value, Problem> {
        Ok(Err(MUST_BE_A_TEXT.into()))
    }

    fn text(self, text: &str) -> Result<Self::Value, Problem> {
        Ok((self.0)(text))
    }
}

/// An integer from 1 to 2^53 - 1.
pub(in crate::contract) struct Id<T>(PhantomData<T>);

pub(in crate::contract) fn id<T>() -> Id<T> {
    Id(PhantomData)
}

impl<T: TryFrom<i64>> Kind<'_> for Id<T> {
    type Value = T;

    fn other(self) -> Result<T, Problem> {
        Err(format!("must be an integer from 1 to {MAX_ID}").into())
    }

    fn integer(self, number: i64) -> Result<T, Problem> {
        T::try_from(number).or_else(|_| self.other())
    }
}

/// An array of ids. Those that came before may be sorted and each be there once: a list that names the same
/// secret a million times is no larger in memory than in the message.
pub(in crate::contract) struct Ids<T>(PhantomData<T>);

pub(in crate::contract) fn ids<T>() -> Ids<T> {
    Ids(PhantomData)
}

/// So many ids are kept as they come.
const UNSORTED: usize = 64 * 1024;

impl<'de, T: TryFrom<i64> + Ord> Kind<'de> for Ids<T> {
    type Value = Vec<T>;

    fn other(self) -> Result<Vec<T>, Problem> {
        Err("must be an array of ids".into())
    }

    fn list<A: SeqAccess<'de>>(self, mut items: A, place: &Place<'_>) -> Result<Vec<T>, A::Error> {
        let (mut ids, mut index, mut room) = (Vec::new(), 0, UNSORTED);
        while let Some(one) = item(&mut items, id::<T>, &place.item(index))? {
            ids.push(one);
            index += 1;
            if ids.len() == room {
                ids.sort_unstable();
                ids.dedup();
                room = UNSORTED.max(ids.len() + ids.len() / 2);
            }
        }
        Ok(ids)
    }
}

/// A number of a run, lane or turn.
pub(in crate::contract) struct Number(pub(in crate::contract) &'static str);

impl Kind<'_> for Number {
    type Value = i32;

    fn other(self) -> Result<i32, Problem> {
        Err(self.0.into())
    }

    fn integer(self, number: i64) -> Result<i32, Problem> {
        i32::try_from(number).map_err(|_| self.0.into())
    }
}

/// True or false.
pub(in crate::contract) struct Flag;

impl Kind<'_> for Flag {
    type Value = bool;

    fn other(self) -> Result<bool, Problem> {
        Err("must be true or false".into())
    }

    fn boolean(self, value: bool) -> Result<bool, Problem> {
        Ok(value)
    }
}

/// The tags of a secret, in order and each once, however its accents were composed.
pub(in crate::contract) struct Tags;

/// Far more than anybody sorts secrets by.
const MAX_TAGS: usize = 100;

fn tag() -> Kept {
    Kept(text::tag)
}

impl<'de> Kind<'de> for Tags {
    type Value = Vec<String>;

    fn other(self) -> Result<Vec<String>, Problem> {
        Err("must be an array of texts".into())
    }

    fn list<A: SeqAccess<'de>>(self, mut items: A, place: &Place<'_>) -> Result<Vec<String>, A::Error> {
        let mut tags = Vec::new();
        while let Some(one) = item(&mut items, tag, &place.item(tags.len()))? {
            if tags.len() == MAX_TAGS {
                return Err(place.refuse(format!("must not be more than {MAX_TAGS}")));
            }
            tags.push(one);
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }
}

/// An array of objects.
pub(in crate::contract) struct Objects<O>(pub(in crate::contract) PhantomData<O>);

impl<'de, O: Object<'de>> Kind<'de> for Objects<O> {
    type Value = Vec<O::Read>;

    fn other(self) -> Result<Self::Value, Problem> {
        Err("must be an array".into())
    }

    fn list<A: SeqAccess<'de>>(self, mut items: A, place: &Place<'_>) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        while let Some(one) = item(&mut items, || Fields::<O>(PhantomData), &place.item(objects.len()))? {
            objects.push(one);
        }
        Ok(objects)
    }
}

/// Reads a client secret. It is taken from the document itself, which whoever read it wipes: serde_json would
/// leave a copy of one with escapes in its own buffer.
pub(in crate::contract) fn secret<'de, A: MapAccess<'de>>(
    member: Member<'_, A>,
    into: &mut Once<SecretString>,
) -> Result<(), A::Error> {
    let place = member.place();
    if into.came() {
        return Err(place.refuse("came more than once"));
    }
    *into = match member.raw()? {
        Once::Is(raw) => Once::Is(secret_of(raw.get()).map_err(|problem| place.refuse(problem))?),
        _ => Once::Null,
    };
    Ok(())
}

fn secret_of(raw: &str) -> Result<SecretString, Problem> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).ok_or(MUST_BE_A_TEXT)?;
    let text = unescaped(inner).ok_or(MUST_BE_A_TEXT)?;
    text::client_secret(&text).map_err(|error| error.to_string())?;
    // From a text of just that length: a longer one would be copied once more, and not wiped.
    Ok(SecretString::from(text.as_str()))
}

/// The text of a JSON string; `None` for half a pair of surrogates. It never grows, so that no part of it is left
/// behind.
fn unescaped(raw: &str) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(raw.len()));
    let mut rest = raw;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let kind = escape.chars().next()?;
        rest = escape.get(kind.len_utf8()..)?;
        text.push(match kind {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let (first, behind) = unit(rest)?;
                rest = behind;
                if (0xd800..0xdc00).contains(&first) {
                    let (second, behind) = unit(rest.strip_prefix("\\u")?)?;
                    rest = behind;
                    char::decode_utf16([first, second]).next()?.ok()?
                } else {
                    char::from_u32(first.into())?
                }
            }
            other => other,
        });
    }
    text.push_str(rest);
    Some(text)
}

/// Four hexadecimal digits and what stands behind them.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, behind) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(raw: &str) -> Option<String> {
        unescaped(raw).map(|text| text.to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against serde_json's own reading.
        #[test]
        fn a_text_with_escapes_is_what_serde_json_reads(text in ".*", raw in "(\\\\[nrtbfu\"/\\\\]|[0-9a-fD]{1,4}|.){0,12}") {
            let written = serde_json::to_string(&text).expect("JSON");
            let inner = &written[1..written.len() - 1];
            prop_assert_eq!(plain(inner), Some(text.clone()));
            let ascii: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(plain(&ascii), Some(text));
            if let Ok(read) = serde_json::from_str::<String>(&format!("\"{raw}\"")) {
                prop_assert_eq!(plain(&raw), Some(read));
            }
        }
    }
}
