//! A client secret, read so that no copy of it is left in memory that nobody wipes.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::contract::json::invalid::Problem;
use crate::contract::json::kinds::MUST_BE_A_TEXT;
use crate::contract::json::value::refuse;
use crate::domain::text;

/// A client secret. It is taken from the bytes of the document, which whoever read them wipes: serde_json would leave
/// a copy of one that is written with escapes in a buffer of its own.
pub(in crate::contract) struct ClientSecret(pub(in crate::contract) SecretString);

impl<'de> Deserialize<'de> for ClientSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        secret_of(raw.get()).map(Self).map_err(refuse)
    }
}

fn secret_of(raw: &str) -> Result<SecretString, Problem> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).ok_or(MUST_BE_A_TEXT)?;
    let text = unescaped(inner).ok_or(MUST_BE_A_TEXT)?;
    text::client_secret(&text).map_err(|error| error.to_string())?;
    // The text is copied into a box of just its length: from a longer buffer it would be moved once more, unwiped.
    Ok(SecretString::from(text.as_str()))
}

/// The text of a JSON string. `None` for one half of a pair of surrogates. The buffer never grows, because growing
/// would leave a copy behind.
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

/// The value of four hexadecimal digits, and the text behind them.
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
