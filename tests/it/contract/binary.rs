//! CloudEvents in binary mode, whose attributes are in headers and whose data is the body.

use super::*;

const LIMIT: usize = 2 * 1024 * 1024;

fn headers(prefix: &str) -> Vec<(String, String)> {
    let event = golden("job.requested.ids");
    ["specversion", "id", "source", "type", "time", "traceparent"]
        .map(|name| (format!("{prefix}{name}"), event[name].as_str().expect("a text").to_owned()))
        .into()
}

fn data() -> Vec<u8> {
    golden("job.requested.ids")["data"].to_string().into_bytes()
}

fn structured(kind: Option<&str>, headers: &[(String, String)], body: &[u8]) -> Option<Vec<u8>> {
    contract::structured(kind, headers, body, LIMIT)
}

#[test]
fn a_message_in_binary_mode_is_read_like_its_structured_form() {
    let expected = decode(golden("job.requested.ids").to_string().as_bytes()).expect("valid");
    for prefix in ["cloudEvents:", "cloudEvents_", "ce-", "ce_", "CE-", "cloudevents:"] {
        for kind in [None, Some("application/json"), Some("application/json; charset=utf-8"), Some("")] {
            for body in [data(), [b"\xef\xbb\xbf", &data()[..]].concat()] {
                let form = structured(kind, &headers(prefix), &body).expect("in binary mode");
                assert_eq!(decode(&form).expect("valid"), expected);
                // A structured form stays as it is: a dead letter or a replay of it is not turned again.
                assert_eq!(structured(kind, &headers(prefix), &form), None);
                assert_eq!(structured(Some(contract::CONTENT_TYPE), &headers(prefix), &form), None);
            }
        }
    }
}

#[test]
fn a_header_never_overrides_what_a_structured_body_says() {
    let other = "0199c3a0-7b1e-7c3a-9f00-000000000001";
    let mut forged = headers("ce-");
    forged[1].1 = other.to_owned();
    let body = golden("job.requested.ids").to_string();
    for kind in [None, Some("application/json"), Some(contract::CONTENT_TYPE), Some("text/plain")] {
        assert_eq!(structured(kind, &forged, body.as_bytes()), None);
        let escaped = body.replace("\"specversion\"", "\"\\u0073pecversion\"");
        assert_eq!(structured(kind, &forged, escaped.as_bytes()), None);
        assert_eq!(structured(kind, &forged, format!("\u{feff}{body}").as_bytes()), None);
    }
    for kind in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=UTF-8",
        " application/cloudevents-batch+json",
    ] {
        assert_eq!(structured(Some(kind), &forged, &data()), None);
    }
    // Headers without a version are no event.
    assert_eq!(structured(None, &headers("ce-")[1..], &data()), None);
    assert_eq!(structured(None, &headers("x-ce-"), &data()), None);
    assert_eq!(structured(None, &[], &data()), None);
}

#[test]
fn what_is_wrong_in_binary_mode_is_told_by_its_field() {
    let mut without = headers("cloudEvents:");
    without.retain(|(name, _)| !name.ends_with("source"));
    let mut twice = headers("cloudEvents:");
    twice.push(("ce-id".to_owned(), JOB.to_owned()));
    let set = |name: &str, value: &str| {
        let mut headers = headers("ce-");
        let at = headers.iter().position(|(of, _)| of.ends_with(name)).expect("it is there");
        headers[at].1 = value.to_owned();
        headers
    };
    use DeadReason::{InvalidField, NotCloudevent, UnknownType, UnknownVersion};
    let good = data();
    let told = |headers: &[(String, String)], body: &[u8]| {
        let form = structured(Some("application/json"), headers, body).expect("in binary mode");
        let poison = decode(&form).expect_err("poison");
        (poison.reason, poison.detail.clone(), poison.failed_job().is_some())
    };
    let is = |reason, detail: &str, failed| (reason, detail.to_owned(), failed);
    assert_eq!(told(&without, &good), is(NotCloudevent, "source is missing", true));
    assert_eq!(told(&twice, &good), is(NotCloudevent, "id came more than once", false));
    assert_eq!(told(&set("id", "42"), &good), is(InvalidField, "id must be a UUID", false));
    assert_eq!(told(&set("specversion", "0.3"), &good), is(UnknownVersion, "specversion is not 1.0", false));
    assert_eq!(told(&set("type", "x"), &good), is(UnknownType, super::bad_requests::UNKNOWN_TYPE, false));
    let control = "source must not contain control characters";
    assert_eq!(told(&set("source", "a\",\"id\":\"\u{1}"), &good), is(NotCloudevent, control, true));
    assert_eq!(told(&headers("ce-"), b""), is(NotCloudevent, "data is missing", false));
    assert_eq!(
        told(&headers("ce-"), b"hello"),
        is(InvalidField, "data_base64 is not JSON at line 1 column 1", false)
    );
    assert_eq!(
        told(&headers("ce-"), b"\xff\xfe"),
        is(InvalidField, "data_base64 is not JSON at line 1 column 1", false)
    );
    let wrong = String::from_utf8(good.clone()).expect("UTF-8").replace("recipients", "recipient");
    let detail = "data.recipient is not a field that can be set";
    assert_eq!(told(&headers("ce-"), wrong.as_bytes()), is(InvalidField, detail, true));
    // Over the limit a body is not looked at: it is poison as it is.
    assert_eq!(contract::structured(None, &headers("ce-"), &good, good.len() - 1), None);
}
