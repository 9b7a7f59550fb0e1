//! Unknown members, and members that come twice. An unknown option is never passed over below the data, since it may
//! have been meant to narrow the request, and the job would share more than was asked for.

use super::*;

/// A body with `more` (`"name": value`) as the first or last member of the object at this pointer.
fn added(body: &Value, pointer: &str, more: &str, first: bool) -> String {
    let mark = "\u{1}mark";
    let mut body = body.clone();
    let object = body.pointer_mut(pointer).expect("it is there").as_object_mut().expect("an object");
    object.insert(if first { mark.to_owned() } else { format!("\u{7f}{mark}") }, Value::Null);
    let text = body.to_string();
    let written = if first { "\"\\u0001mark\":null" } else { "\"\u{7f}\\u0001mark\":null" };
    assert_eq!(text.matches(written).count(), 1, "{text}");
    text.replace(written, more)
}

fn detail(body: &str) -> (DeadReason, String) {
    let poison = decode(body.as_bytes()).expect_err(body);
    (poison.reason, poison.detail)
}

#[test]
fn what_is_unknown_in_the_envelope_is_read_over() {
    for (name, request) in requests() {
        for first in [true, false] {
            for more in [
                r#""partitionkey":"a""#,
                r#""x":[[{"deep":[1,null,{"id":7,"data":{}}]}]],"y":1e300"#,
                r#""x":1,"x":2"#,
            ] {
                let read = decode(added(&golden(name), "", more, first).as_bytes()).expect("valid");
                assert_eq!(read.request, request);
            }
        }
    }
}

#[test]
fn what_is_unknown_below_the_data_is_refused_with_its_path() {
    for (name, pointer, path) in [
        ("job.requested.ids", "/data", "data"),
        ("job.requested.ids", "/data/secrets", "data.secrets"),
        ("job.requested.all", "/data/secrets/all", "data.secrets.all"),
        ("job.requested.ids", "/data/recipients/0", "data.recipients[0]"),
        ("job.requested.ids", "/data/recipients/2", "data.recipients[2]"),
    ] {
        for field in ["serach", "tags", "permision", "Shared", "requestedBy", "id ", "", "ação"] {
            for value in ["7", "null", "\"x\"", "{\"deep\":[1,{}]}", "[[[]]]"] {
                for first in [true, false] {
                    let body = added(&golden(name), pointer, &format!("\"{field}\":{value}"), first);
                    let expected = format!("{path}.{field} is not a field that can be set");
                    let poison = decode(body.as_bytes()).expect_err(&body);
                    assert_eq!(
                        (poison.reason, poison.detail),
                        (DeadReason::InvalidField, expected),
                        "{body}"
                    );
                    // Whoever asked hears of it, wherever the unknown member stands.
                    assert_eq!((poison.job_id, poison.requested_by), (Some(job_id()), Some(principal(42))));
                }
            }
        }
    }
}

#[test]
fn a_member_that_comes_twice_is_refused() {
    for name in ["specversion", "id", "source", "type", "time", "datacontenttype", "traceparent", "data"] {
        let body = golden("job.requested.ids");
        for value in [body[name].to_string(), "null".to_owned()] {
            let twice = added(&body, "", &format!("\"{name}\":{value}"), true);
            assert_eq!(detail(&twice), (DeadReason::NotCloudevent, format!("{name} came more than once")));
        }
    }
    for (name, pointer, path, field, value) in [
        ("job.requested.ids", "/data", "data", "requested_by", "42"),
        ("job.requested.ids", "/data", "data", "secrets", r#"{"ids":[1]}"#),
        ("job.requested.ids", "/data", "data", "recipients", r#"[{"kind":"user","id":1}]"#),
        ("job.requested.ids", "/data/secrets", "data.secrets", "ids", "[1]"),
        ("job.requested.all", "/data/secrets", "data.secrets", "all", "{}"),
        ("job.requested.all", "/data/secrets/all", "data.secrets.all", "search", "\"x\""),
        ("job.requested.all", "/data/secrets/all", "data.secrets.all", "tag", "null"),
        ("job.requested.all", "/data/secrets/all", "data.secrets.all", "shared", "true"),
        ("job.requested.all", "/data/secrets/all", "data.secrets.all", "except", "[]"),
        ("job.requested.ids", "/data/recipients/1", "data.recipients[1]", "kind", "\"user\""),
        ("job.requested.ids", "/data/recipients/1", "data.recipients[1]", "id", "7"),
        ("job.requested.ids", "/data/recipients/1", "data.recipients[1]", "permission", "\"view\""),
    ] {
        for first in [true, false] {
            let twice = added(&golden(name), pointer, &format!("\"{field}\":{value}"), first);
            let expected = format!("{path}.{field} came more than once");
            assert_eq!(detail(&twice), (DeadReason::InvalidField, expected), "{twice}");
        }
    }
    // A name that is written with escapes is the same name.
    let twice = added(&golden("job.requested.ids"), "/data", r#""\u0072equested_by":1"#, true);
    assert_eq!(detail(&twice).1, "data.requested_by came more than once");
    // If a message has two ids, nobody knows which job was meant.
    let twice =
        added(&golden("job.requested.ids"), "", "\"id\":\"0199c3a0-7b1e-7c3a-9f00-000000000001\"", true);
    assert_eq!(decode(twice.as_bytes()).expect_err("poison").failed_job(), None);
}

#[test]
fn a_name_that_is_the_senders_is_short_and_harmless() {
    let evil = "a\\u001b[31m\\u202eb\\u0000\\n\\u2066\\u200f";
    let body = added(&golden("job.requested.ids"), "/data", &format!("\"{evil}\":1"), true);
    let expected = "data.a\\u{1b}[31m\\u{202e}b\\u{0}\\u{a}\\u{2066}\\u{200f} is not a field that can be set";
    assert_eq!(detail(&body).1, expected);
    for long in ["x".repeat(1_000_000), "\\u202e".repeat(100_000), "ção".repeat(1_000)] {
        let body = added(&golden("job.requested.ids"), "/data/secrets", &format!("\"{long}\":1"), true);
        let (reason, detail) = detail(&body);
        assert_eq!(reason, DeadReason::InvalidField);
        assert!(detail.chars().count() < 1_000, "{}", detail.len());
        assert!(detail.ends_with(" is not a field that can be set"), "{detail}");
    }
}

#[test]
fn the_body_of_a_post_and_of_a_change_has_no_other_fields() {
    let refused = |body: &str| match contract::decode_share_data(body.as_bytes(), principal(42)) {
        Err(contract::Unread::Invalid(invalid)) => invalid.to_string(),
        other => panic!("{body}: {other:?}"),
    };
    for (body, expected) in [
        (r#"{"secrets":{"all":{"tags":"prod"}},"recipients":[{"kind":"user","id":7}]}"#, "secrets.all.tags"),
        (r#"{"secrets":{"all":{"serach":"x"}},"recipients":[{"kind":"user","id":7}]}"#, "secrets.all.serach"),
        (r#"{"secrets":{"ids":[1],"except":[2]},"recipients":[{"kind":"user","id":7}]}"#, "secrets.except"),
        (
            r#"{"secrets":{"ids":[1]},"recipients":[{"kind":"user","id":7,"permision":"edit"}]}"#,
            "recipients[0].permision",
        ),
        (r#"{"secrets":{"ids":[1]},"recipients":[{"kind":"user","id":7}],"requested_by":1}"#, "requested_by"),
    ] {
        assert_eq!(refused(body), format!("{expected} is not a field that can be set"));
    }
    for body in [r#"{"username":"ana","name":"x"}"#, r#"{"username":"ana","username":"bia"}"#, "[]", "{}"] {
        assert!(contract::decode_username(body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(contract::decode_username(br#"{"username":"ana"}"#).as_deref(), Ok("ana"));
}

#[test]
fn a_line_of_an_import_has_no_fields_but_its_types() {
    let lines = [
        json!({"type": "user", "id": 7, "username": "ana", "name": "Ana", "email": "a@b", "active": true, "has_account": true}),
        json!({"type": "user_group", "id": 12, "name": "P", "members": [7], "active": true}),
        json!({"type": "personal_group", "id": 31, "name": "O", "owner": 42, "members": [7], "visible_to_members": true, "active": true}),
        json!({"type": "secret", "id": 101, "owner": 42, "name": "S", "url": "https://a.example", "client_id": "c", "client_secret": "s",
               "identifier": "i", "method": "POST", "tags": ["prod"], "notes": "", "disabled": false}),
    ];
    let all: std::collections::BTreeMap<&String, &Value> =
        lines.iter().flat_map(|line| line.as_object().expect("an object")).collect();
    for line in &lines {
        assert!(contract::decode_import_line(&line.to_string()).is_ok(), "{line}");
        let refused = |more: &str, first: bool| {
            let text = added(line, "", more, first);
            contract::decode_import_line(&text).expect_err(&text).to_string()
        };
        for first in [true, false] {
            for name in ["actve", "disable", "client_secrets", "memebers", "Active"] {
                let expected = format!("{name} is not a field that can be set");
                assert_eq!(refused(&format!("\"{name}\":false"), first), expected, "{line}");
            }
            for (name, value) in &all {
                let known = line.get(name.as_str()).is_some();
                let problem = if known { "came more than once" } else { "is not a field that can be set" };
                assert_eq!(
                    refused(&format!("\"{name}\":{value}"), first),
                    format!("{name} {problem}"),
                    "{line}"
                );
            }
        }
    }
}
