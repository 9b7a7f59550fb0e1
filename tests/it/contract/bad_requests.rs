//! Bad requests: for which reason they are dead letters, which field is named, and whether the job that they name
//! fails.

use super::*;

/// What is said of a type that is none of those that are read.
pub const UNKNOWN_TYPE: &str = "type is none of batchshare.job.requested.v1, batchshare.cancel.requested.v1, \
    batchshare.undo.requested.v1, batchshare.unshare.requested.v1";

const LARGE: i64 = MAX_ID + 1;

/// A good message in which the field at this pointer has another value, or is left out for `None`.
pub fn with(name: &str, pointer: &str, value: Option<Value>) -> Vec<u8> {
    let mut body = golden(name);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = body.pointer_mut(parent).expect("it is there");
    match (parent, value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(field.to_owned(), value)),
        (Value::Object(fields), None) => drop(fields.remove(field).expect("it is there")),
        (Value::Array(items), Some(value)) => items[field.parse::<usize>().expect("an index")] = value,
        _ => panic!("{pointer} leads nowhere"),
    }
    body.to_string().into_bytes()
}

/// What is no id.
pub fn no_ids() -> Vec<Value> {
    let huge: Value = serde_json::from_str("123456789012345678901234567890").expect("a number");
    let mut values = vec![huge, json!(0), json!(-1), json!(LARGE), json!(i64::MIN), json!(u64::MAX)];
    values.extend([
        json!(1.5),
        json!(7.5),
        json!(-7.0),
        json!(1e300),
        json!("7"),
        json!(true),
        json!([7]),
        json!({"id": 7}),
    ]);
    values
}

pub struct Table(pub Vec<(String, Vec<u8>, DeadReason, String)>);

impl Table {
    /// One field of the message with ids.
    fn row(&mut self, pointer: &str, value: Option<Value>, reason: DeadReason, detail: &str) {
        self.row_of("job.requested.ids", pointer, value, reason, detail);
    }

    pub fn row_of(
        &mut self,
        name: &str,
        pointer: &str,
        value: Option<Value>,
        reason: DeadReason,
        detail: &str,
    ) {
        let what = format!("{name} {pointer} = {value:?}");
        self.0.push((what, with(name, pointer, value), reason, detail.to_owned()));
    }

    /// Holds each message against its reason and detail.
    pub fn check(self) {
        for (what, body, reason, detail) in self.0 {
            let poison = ask(&body).expect_err(&what);
            assert_eq!((poison.reason, poison.detail.as_str()), (reason, detail.as_str()), "{what}");
        }
    }
}

#[test]
fn an_envelope_that_is_no_event_is_told_by_its_field() {
    use DeadReason::{InvalidField, NotCloudevent, UnknownType, UnknownVersion};
    let mut table = Table(Vec::new());
    for field in ["specversion", "type", "source", "id"] {
        let pointer = format!("/{field}");
        table.row(&pointer, None, NotCloudevent, &format!("{field} is missing"));
        table.row(&pointer, Some(Value::Null), NotCloudevent, &format!("{field} is missing"));
        table.row(&pointer, Some(json!("")), NotCloudevent, &format!("{field} must not be empty"));
        for wrong in [json!(1.0), json!(true), json!(["1.0"]), json!({"1.0": 1})] {
            table.row(&pointer, Some(wrong), NotCloudevent, &format!("{field} must be a text"));
        }
        let control = format!("{field} must not contain control characters");
        table.row(&pointer, Some(json!("a\u{0}b")), NotCloudevent, &control);
    }
    for version in ["0.3", "1", "1.0.0", "2.0", " 1.0"] {
        table.row("/specversion", Some(json!(version)), UnknownVersion, "specversion is not 1.0");
    }
    let v2 = "batchshare.job.requested.v2";
    table.row("/type", Some(json!(v2)), UnknownVersion, "type is version 2, known is 1");
    for kind in [
        "x",
        "batchshare.job.requested.v",
        "batchshare.job.requested.v1x",
        "BATCHSHARE.JOB.REQUESTED.V1",
        contract::STEP_TYPE,
    ] {
        table.row("/type", Some(json!(kind)), UnknownType, UNKNOWN_TYPE);
    }
    for id in [
        "42",
        "0199c3a07b1e7c3a9f000123456789ab",
        "{0199c3a0-7b1e-7c3a-9f00-0123456789ab}",
        "urn:uuid:0199c3a0-7b1e-7c3a-9f00-0123456789ab",
        "0199c3a0-7b1e-7c3a-9f00-0123456789ag",
        " 0199c3a0-7b1e-7c3a-9f00-0123456789a",
    ] {
        table.row("/id", Some(json!(id)), InvalidField, "id must be a UUID");
    }
    table.row("/data", None, NotCloudevent, "data is missing");
    table.row("/data", Some(Value::Null), NotCloudevent, "data is missing");
    for wrong in [json!([]), json!("x"), json!(7)] {
        table.row("/data", Some(wrong), InvalidField, "data must be an object");
    }
    table.check();
}

#[test]
fn each_field_of_the_data_is_named_where_it_is_wrong() {
    use DeadReason::InvalidField;
    let mut table = Table(Vec::new());
    let mut row = |pointer: &str, value: Option<Value>, detail: &str| {
        let of_all = pointer.starts_with("/data/secrets/all/");
        let name = if of_all { "job.requested.all" } else { "job.requested.ids" };
        table.row_of(name, pointer, value, InvalidField, detail);
    };
    for (pointer, path) in [
        ("/data/requested_by", "data.requested_by"),
        ("/data/secrets/ids/1", "data.secrets.ids[1]"),
        ("/data/secrets/all/except/0", "data.secrets.all.except[0]"),
        ("/data/recipients/2/id", "data.recipients[2].id"),
    ] {
        for wrong in no_ids() {
            row(pointer, Some(wrong), &format!("{path} must be an integer from 1 to {MAX_ID}"));
        }
    }
    for (pointer, path) in [
        ("/data/requested_by", "data.requested_by"),
        ("/data/secrets", "data.secrets"),
        ("/data/recipients", "data.recipients"),
        ("/data/recipients/1/kind", "data.recipients[1].kind"),
        ("/data/recipients/1/id", "data.recipients[1].id"),
    ] {
        row(pointer, None, &format!("{path} is missing"));
        row(pointer, Some(Value::Null), &format!("{path} is missing"));
    }
    row("/data/secrets/ids", None, "data.secrets.ids is missing (or all in its place)");
    row("/data/secrets/ids", Some(Value::Null), "data.secrets.ids is missing (or all in its place)");
    row(
        "/data/secrets/ids/0",
        Some(Value::Null),
        &format!("data.secrets.ids[0] must be an integer from 1 to {MAX_ID}"),
    );
    for wrong in [json!(7), json!("x"), json!([]), json!(true)] {
        row("/data/secrets", Some(wrong.clone()), "data.secrets must be an object");
        row("/data/recipients/0", Some(wrong.clone()), "data.recipients[0] must be an object");
        row("/data/secrets", Some(json!({"all": wrong})), "data.secrets.all must be an object");
    }
    row("/data/recipients/0", Some(Value::Null), "data.recipients[0] must be an object");
    for wrong in [json!(7), json!("x"), json!({})] {
        row("/data/secrets/ids", Some(wrong.clone()), "data.secrets.ids must be an array of ids");
        row("/data/recipients", Some(wrong.clone()), "data.recipients must be an array");
        row("/data/secrets/all/except", Some(wrong), "data.secrets.all.except must be an array of ids");
    }
    row("/data/secrets/ids", Some(json!([])), "data.secrets.ids must not be empty");
    row("/data/recipients", Some(json!([])), "data.recipients must not be empty");
    row(
        "/data/secrets",
        Some(json!({"ids": [1], "all": {}})),
        "data.secrets.all must not come together with ids",
    );
    for field in ["search", "tag"] {
        let (pointer, path) = (format!("/data/secrets/all/{field}"), format!("data.secrets.all.{field}"));
        for wrong in [json!(7), json!(false), json!(["x"]), json!({})] {
            row(&pointer, Some(wrong), &format!("{path} must be a text"));
        }
        row(&pointer, Some(json!("a\u{0}b")), &format!("{path} must not contain control characters"));
        let long = "x".repeat(16 * 1024 + 1);
        row(&pointer, Some(json!(long)), &format!("{path} must not be longer than 16384 bytes"));
    }
    for wrong in [json!(0), json!("true"), json!([])] {
        row("/data/secrets/all/shared", Some(wrong), "data.secrets.all.shared must be true or false");
    }
    for wrong in [json!(7), json!(false), json!(["x"]), json!({})] {
        row("/data/note", Some(wrong), "data.note must be a text");
    }
    for (wrong, problem) in [
        (" x", "must not begin or end with white space"),
        ("\u{a0}", "must not be blank"),
        ("a\nb", "must not contain control characters"),
        (
            "a\u{202e}b",
            "must not contain characters that nobody sees or that turn the direction of text (it has U+202E)",
        ),
        (&"x".repeat(501), "must not be longer than 500 characters"),
    ] {
        row("/data/note", Some(json!(wrong)), &format!("data.note {problem}"));
    }
    let (kind, permission) = ("/data/recipients/1/kind", "/data/recipients/1/permission");
    for wrong in ["team", "USER", "user ", "userGroup"] {
        row(kind, Some(json!(wrong)), "data.recipients[1].kind must be user, user_group or personal_group");
    }
    for wrong in ["", "owner", "Edit", "write", "admin"] {
        row(permission, Some(json!(wrong)), "data.recipients[1].permission must be view or edit");
    }
    row(kind, Some(json!("")), "data.recipients[1].kind must not be empty");
    for wrong in [json!(2), json!(["edit"]), json!(true)] {
        row(kind, Some(wrong.clone()), "data.recipients[1].kind must be a text");
        row(permission, Some(wrong), "data.recipients[1].permission must be a text");
    }
    table.check();
}

#[test]
fn what_is_not_json_is_told_by_its_place() {
    let good = golden("job.requested.all").to_string();
    let deep = "[".repeat(100_000);
    let closed = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let mut bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a text", b"hello".to_vec()),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec()),
        ("more after it", format!("{good}{{}}").into_bytes()),
        ("deep nesting", deep.into_bytes()),
        (
            "deep nesting in an unknown field",
            good.replacen('{', &format!("{{\"x\":{closed},"), 1).into_bytes(),
        ),
        ("two byte order marks", format!("\u{feff}\u{feff}{good}").into_bytes()),
        ("a lone surrogate", good.replacen("prod", "\\ud800", 1).into_bytes()),
        ("half a pair of surrogates", good.replacen("prod", "\\ud800\\u0041", 1).into_bytes()),
        ("a number that no reader keeps", good.replacen("42", "1e999", 1).into_bytes()),
        ("not a number", good.replacen("42", "NaN", 1).into_bytes()),
        ("a leading zero", good.replacen("42", "042", 1).into_bytes()),
        ("a raw control character", good.replacen("prod", "pr\nod", 1).into_bytes()),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    let mut invalid = good.clone().into_bytes();
    let at = good.find("prod").expect("it is there");
    invalid[at] = 0xff;
    bodies.push(("invalid UTF-8", invalid));
    for (what, body) in bodies {
        let poison = decode(&body).expect_err(what);
        assert_eq!(poison.reason, DeadReason::NotJson, "{what}");
        assert!(poison.detail.starts_with("not JSON at line "), "{what}: {}", poison.detail);
        assert_eq!(poison.failed_job(), None, "{what}");
    }
    for scalar in ["7", "null", "true", "\"x\"", "[]"] {
        let poison = decode(scalar.as_bytes()).expect_err(scalar);
        assert_eq!(poison.reason, DeadReason::NotCloudevent);
        assert_eq!(poison.detail, "the document must be an object");
    }
}

#[test]
fn a_message_over_the_limit_is_not_read() {
    let body = golden("job.requested.ids").to_string();
    let poison = contract::decode_asked(body.as_bytes(), body.len() - 1).expect_err("too large");
    assert_eq!((poison.reason, poison.failed_job()), (DeadReason::TooLarge, None));
    assert!(contract::decode_asked(body.as_bytes(), body.len()).is_ok());
}

#[test]
fn a_bad_request_fails_the_job_that_it_names_only_for_a_bad_field() {
    let failed = |body: Vec<u8>| decode(&body).expect_err("poison").failed_job();
    let job = Some((job_id(), principal(42)));
    let ids = "job.requested.ids";
    assert_eq!(failed(with(ids, "/data/recipients", None)), job, "invalid_field");
    assert_eq!(failed(with(ids, "/source", None)), job, "not_cloudevent");
    assert_eq!(failed(with(ids, "/id", Some(json!("x")))), None, "no id");
    assert_eq!(failed(with(ids, "/id", None)), None, "no id");
    assert_eq!(failed(with(ids, "/data/requested_by", Some(json!(-1)))), None, "nobody");
    assert_eq!(failed(with(ids, "/data", None)), None, "nobody");
    assert_eq!(
        failed(with(ids, "/type", Some(json!("batchshare.job.requested.v2")))),
        None,
        "a newer worker"
    );
    assert_eq!(failed(with(ids, "/specversion", Some(json!("2.0")))), None, "a newer worker");
    assert_eq!(failed(with(ids, "/type", Some(json!("x")))), None, "not ours");
}

const MARKER: &str = "MARKER7f3a9";
/// The name of a field that is none of ours: the sender's own word, which an error may name.
const NAME: &str = "NAME7f3a9";
const NUMBER: i64 = -987_654_321_987;

/// Every place of a document.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| places(value, &format!("{path}/{name}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| places(value, &format!("{path}/{index}"), found));
        }
        _ => {}
    }
}

/// The document with each of its places in turn replaced by something that holds the marker.
fn marked(document: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let marks = [
        json!(MARKER),
        json!(format!("{MARKER}\u{0}")),
        json!(MARKER.repeat(2_000)),
        json!(NUMBER),
        json!(9_876_543.5),
        json!([MARKER]),
        json!([NUMBER]),
        json!([{ NAME: NUMBER }]),
        json!({ NAME: MARKER }),
    ];
    let mut documents = Vec::new();
    for place in found {
        for mark in &marks {
            let mut document = document.clone();
            *document.pointer_mut(&place).expect("it is there") = mark.clone();
            documents.push(document);
        }
    }
    documents
}

fn assert_silent(text: &str) {
    for value in [MARKER, "987654321987", "9876543"] {
        assert!(!text.contains(value), "an error repeats a value: {text:.300}");
    }
}

#[test]
fn no_error_of_a_request_repeats_a_value() {
    let mut errors = 0;
    for name in ["job.requested.ids", "job.requested.all"].iter().chain(super::orders::GOLDEN) {
        for document in marked(&golden(name)) {
            let text = document.to_string();
            for body in [text.as_str(), &text[..text.len() - 1], &format!("{text}{MARKER}")] {
                if let Err(poison) = ask(body.as_bytes()) {
                    errors += 1;
                    assert_silent(&poison.to_string());
                }
            }
            if let Some(data) = document.get("data")
                && let Err(error) = contract::decode_share_data(data.to_string().as_bytes(), principal(42))
            {
                assert_silent(&error.to_string());
            }
            if let Some(data) = document.get("data")
                && let Err(error) = contract::decode_unshare_data(data.to_string().as_bytes(), principal(42))
            {
                assert_silent(&error.to_string());
            }
        }
    }
    assert!(errors > 500, "only {errors} of them were errors");
}

#[test]
fn no_error_of_our_own_messages_and_rows_repeats_a_value() {
    for document in marked(&golden("job.step")) {
        contract::decode_step(document.to_string().as_bytes())
            .err()
            .into_iter()
            .for_each(|e| assert_silent(&e.to_string()));
    }
    for document in marked(&golden("job.completed_with_rejections")) {
        contract::decode_event(document.to_string().as_bytes())
            .err()
            .into_iter()
            .for_each(|e| assert_silent(&e.to_string()));
    }
    let request = golden("job.requested.all");
    for document in marked(&request["data"]["secrets"]) {
        contract::selection_from_json(&document.to_string())
            .err()
            .into_iter()
            .for_each(|e| assert_silent(&e.to_string()));
    }
    for document in marked(&request["data"]["recipients"]) {
        contract::recipients_from_json(&document.to_string())
            .err()
            .into_iter()
            .for_each(|e| assert_silent(&e.to_string()));
    }
}

#[test]
fn no_error_of_an_import_or_a_change_repeats_a_value() {
    let lines = [
        json!({"type": "user", "id": 7, "username": "ana", "name": "Ana", "email": "a@b", "active": true, "has_account": true}),
        json!({"type": "user_group", "id": 12, "name": "P", "members": [7], "active": true}),
        json!({"type": "personal_group", "id": 31, "name": "O", "owner": 42, "members": [7], "visible_to_members": true}),
        json!({"type": "secret", "id": 101, "owner": 42, "name": "S", "url": "u", "client_id": "c", "client_secret": "s",
               "identifier": "i", "method": "POST", "tags": ["prod"], "notes": "", "disabled": false}),
    ];
    for line in &lines {
        for document in marked(line) {
            let text = document.to_string();
            for text in [text.as_str(), &text[..text.len() - 1]] {
                if let Err(error) = contract::decode_import_line(text) {
                    assert_silent(&error.to_string());
                }
            }
        }
    }
    let change = json!({"name": "S", "url": "u", "client_id": "c", "client_secret": "s", "identifier": "i",
                        "method": "POST", "tags": ["prod"], "notes": "", "disabled": false});
    for document in marked(&change) {
        if let Err(error) = contract::decode_secret_patch(document.to_string().as_bytes()) {
            assert_silent(&error.to_string());
        }
    }
}
