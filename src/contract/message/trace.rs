//! The trace that follows a job through all of its messages, as W3C's `traceparent`.

/// Whether a text is a W3C `traceparent` of version 00 that is worth keeping.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    matches!(parts[..], ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0'))
}

/// A new trace, for a request that came without one.
#[must_use]
pub fn new_traceparent() -> String {
    let span = uuid::Uuid::new_v4().as_u64_pair().1;
    format!("00-{}-{span:016x}-01", uuid::Uuid::new_v4().simple())
}
