//! The forms that the same request may have: other numbers, a byte order mark, data in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn text(name: &str) -> String {
    golden(name).to_string()
}

#[test]
fn a_whole_number_is_the_same_however_it_is_written() {
    let good = decode(text("job.requested.ids").as_bytes()).expect("valid");
    for (number, form) in [
        ("42", "42.0"),
        ("42", "4.2e1"),
        ("42", "42.000e0"),
        ("42", "4200E-2"),
        ("101", "101.0"),
        ("101", "1.01e+2"),
        ("9007199254740991", "9007199254740991.0"),
        ("12", "0.12e2"),
    ] {
        let body = text("job.requested.ids").replacen(&format!(":{number}"), &format!(":{form}"), 1);
        let body = body.replacen(&format!("[{number}"), &format!("[{form}"), 1);
        let body = body.replacen(&format!(",{number}]"), &format!(",{form}]"), 1);
        assert!(body.contains(form), "{form}");
        assert_eq!(decode(body.as_bytes()).expect(form), good, "{form}");
    }
    for wrong in ["42.5", "4.2e0", "0.0", "-42.0", "9007199254740992.0", "1e400", "42e-1", "-0"] {
        let body = text("job.requested.ids").replacen(":42", &format!(":{wrong}"), 1);
        assert!(decode(body.as_bytes()).is_err(), "{wrong}");
    }
    assert_eq!(
        contract::decode_step(br#"{"type":"batchshare.job.step.v1","data":{"job_id":"0199c3a0-7b1e-7c3a-9f00-0123456789ab","run":1.0,"lane":0,"turn":7e0}}"#),
        Ok(step())
    );
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let mark = |text: &str| format!("\u{feff}{text}");
    for (name, request) in requests() {
        assert_eq!(decode(mark(&text(name)).as_bytes()).expect("valid").request, request);
    }
    let share = r#"{"secrets":{"ids":[1]},"recipients":[{"kind":"user","id":7}]}"#;
    assert!(contract::decode_share_data(mark(share).as_bytes(), principal(42)).is_ok());
    assert!(contract::decode_secret_patch(mark(r#"{"name":"x"}"#).as_bytes()).is_ok());
    assert!(
        contract::decode_import_line(&mark(r#"{"type":"user","id":1,"username":"a","name":"A"}"#)).is_ok()
    );
}

/// The event with its data as base64 of these bytes.
fn in_base64(name: &str, data: &[u8]) -> Value {
    let mut body = golden(name);
    let fields = body.as_object_mut().expect("an object");
    fields.remove("data");
    fields.insert("data_base64".to_owned(), STANDARD.encode(data).into());
    body
}

#[test]
fn data_in_base64_is_the_same_data() {
    for (name, request) in requests() {
        let data = golden(name)["data"].to_string();
        for data in [data.clone(), format!("\u{feff}{data}"), format!(" {data}\n")] {
            let body = in_base64(name, data.as_bytes());
            let read = decode(body.to_string().as_bytes()).expect("valid");
            assert_eq!((read.job_id, &read.request), (job_id(), &request));
            // As some writers have it, with each slash escaped.
            let escaped = body.to_string().replace('/', "\\/");
            assert_eq!(decode(escaped.as_bytes()).expect("valid").request, request);
            let mut with_null = body;
            with_null["data"] = Value::Null;
            assert_eq!(decode(with_null.to_string().as_bytes()).expect("valid").request, request);
        }
    }
}

#[test]
fn data_that_came_twice_or_is_no_base64_is_no_event() {
    let name = "job.requested.ids";
    let data = golden(name)["data"].to_string();
    let check = |body: &Value, reason: DeadReason, detail: &str| {
        let poison = decode(body.to_string().as_bytes()).expect_err("poison");
        assert_eq!((poison.reason, poison.detail.as_str()), (reason, detail));
        poison
    };
    let mut both = in_base64(name, data.as_bytes());
    both["data"] = golden(name)["data"].clone();
    check(&both, DeadReason::NotCloudevent, "data_base64 must not come together with data");
    let mut body = in_base64(name, data.as_bytes());
    let good = body["data_base64"].as_str().expect("a text").to_owned();
    for wrong in ["", "x", "not base64!", &good[1..], &format!("{good}\n"), &format!("{good}===")] {
        body["data_base64"] = wrong.into();
        // Nothing in base64 is nothing, and so no JSON.
        let (reason, detail) = match wrong {
            "" => (DeadReason::InvalidField, "data_base64 is not JSON at line 1 column 0"),
            _ => (DeadReason::NotCloudevent, "data_base64 is not base64"),
        };
        check(&body, reason, detail);
    }
    for wrong in [json!(7), json!([good]), json!({"a": 1}), json!(true)] {
        body["data_base64"] = wrong;
        check(&body, DeadReason::NotCloudevent, "data_base64 must be a text");
    }
    check(&in_base64(name, b"hello"), DeadReason::InvalidField, "data_base64 is not JSON at line 1 column 1");
    check(&in_base64(name, b"[1]"), DeadReason::InvalidField, "data must be an object");
    // Whoever asked hears of what is wrong in it.
    let wrong = data.replace("view", "owner");
    let poison = check(
        &in_base64(name, wrong.as_bytes()),
        DeadReason::InvalidField,
        "data.recipients[0].permission must be view or edit",
    );
    assert_eq!(poison.failed_job(), Some((job_id(), principal(42))));
}

#[test]
fn a_file_of_another_kind_is_told_what_an_import_is() {
    for line in [
        "id,name,username,email",
        "7;Ana Souza;ana;ana@example.com",
        "\"id\",\"name\"",
        r#"[{"type":"user","id":7,"username":"ana","name":"Ana"}]"#,
        "[",
        "{",
        "7",
        "null",
        "<users>",
        "---",
    ] {
        let error = contract::decode_import_line(line).expect_err(line).to_string();
        assert!(error.starts_with("the line "), "{error}");
        assert!(
            error.contains("an import is JSON Lines, one object a line, like {\"type\":\"user\""),
            "{error}"
        );
    }
    // A line of the right kind with a fault is told of the fault.
    let error = contract::decode_import_line(r#"{"type":"user","id":7,}"#).expect_err("wrong").to_string();
    assert_eq!(error, "the line is not JSON at column 23");
}
