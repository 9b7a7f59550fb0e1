//! CloudEvents in binary mode, which is what SDKs send by default: the attributes are in headers, and the data is the
//! body.
//!
//! Such a message is turned into its structured form where it is taken. Everything behind that knows only the one
//! form: digests, retries, dead letters and what a replay sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess};

use crate::contract::json::invalid::Problem;
use crate::contract::json::name::Name;
use crate::contract::json::read::{value, without_mark};
use crate::contract::json::value::{Anything, Checked, Kind};
use crate::contract::message::envelope::ATTRIBUTES;

/// How the name of an attribute's header begins: as CloudEvents' binding for AMQP 1.0 has it, and as SDKs write
/// it that go by the binding for HTTP.
const PREFIXES: [&str; 4] = ["cloudevents:", "cloudevents_", "ce-", "ce_"];

/// The structured form of a message in binary mode; `None` for any other message, which is its own.
///
/// A message is in binary mode where a header tells the `specversion`, the content type is none of CloudEvents'
/// own, and the body has no member `specversion`: what a structured body says is never overridden by a header. A
/// body over `max_bytes` is not looked at.
#[must_use]
pub fn structured(
    content_type: Option<&str>,
    headers: &[(String, String)],
    body: &[u8],
    max_bytes: usize,
) -> Option<Vec<u8>> {
    let attributes = || headers.iter().filter_map(|(name, value)| Some((attribute(name)?, value)));
    if !attributes().any(|(name, _)| name == "specversion")
        || content_type
            .is_some_and(|of| of.trim_start().to_ascii_lowercase().starts_with("application/cloudevents"))
        || body.len() > max_bytes
    {
        return None;
    }
    let body = without_mark(body);
    let is_json = match value::<Checked<HasVersion>>(body, "") {
        Ok(Checked(HasVersion(true))) => return None,
        Ok(Checked(HasVersion(false))) => true,
        Err(_) => false,
    };
    let mut event = Vec::with_capacity(body.len() + body.len() / 2 + 1024);
    event.push(b'{');
    for (name, text) in attributes() {
        // A text cannot fail to be written. An attribute that comes under two prefixes is written twice, and the
        // message is refused for it.
        let _ = serde_json::to_writer(&mut event, name);
        event.push(b':');
        let _ = serde_json::to_writer(&mut event, text);
        event.push(b',');
    }
    if is_json || body.is_empty() {
        event.extend_from_slice(b"\"data\":");
        event.extend_from_slice(if body.is_empty() { b"null" } else { body });
    } else {
        event.extend_from_slice(b"\"data_base64\":\"");
        event.extend_from_slice(STANDARD.encode(body).as_bytes());
        event.push(b'"');
    }
    event.push(b'}');
    Some(event)
}

/// The attribute that a header carries, if it is one that is read.
fn attribute(header: &str) -> Option<&'static str> {
    let longest = PREFIXES[0].len() + "datacontenttype".len();
    if header.len() > longest || !header.starts_with(['c', 'C']) {
        return None;
    }
    let header = header.to_ascii_lowercase();
    let name = PREFIXES.iter().find_map(|prefix| header.strip_prefix(prefix))?;
    ATTRIBUTES.into_iter().find(|known| *known == name)
}

/// Whether a document is an object with a member `specversion`. A document of any other kind is not.
struct HasVersion(bool);

impl<'de> Kind<'de> for HasVersion {
    const MUST: &'static str = "";

    fn other() -> Result<Self, Problem> {
        Ok(Self(false))
    }

    fn null<E: Error>() -> Result<Self, E> {
        Ok(Self(false))
    }

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        let mut found = false;
        while let Some(name) = members.next_key_seed(Name)? {
            found |= name == "specversion";
            members.next_value::<Checked<Anything>>()?;
        }
        Ok(Self(found))
    }
}
