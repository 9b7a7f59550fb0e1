//! Orders to cancel and to undo, and requests to take access away: golden files, and what is wrong with bad ones.

use batchshare::contract::Order;
use batchshare::domain::{OrderId, OrderKind};

use super::bad_requests::{Table, UNKNOWN_TYPE, no_ids, with};
use super::*;

/// The golden files of these messages.
pub const GOLDEN: &[&str] =
    &["cancel.requested", "undo.requested", "unshare.requested.ids", "unshare.requested.all"];

const ORDERS: [&str; 2] = ["cancel.requested", "undo.requested"];

fn order_id() -> OrderId {
    "0199c3a0-9d44-7f21-8a00-0123456789ab".parse().expect("a UUID")
}

fn expected(name: &str) -> Asked {
    let traceparent = Some(TRACE.to_owned());
    let kind = match name {
        "cancel.requested" => OrderKind::Cancel,
        "undo.requested" => OrderKind::Undo,
        _ => {
            let (_, share) =
                requests().into_iter().find(|(of, _)| name.ends_with(&of[3..])).expect("a share");
            let request = ShareRequest::taking(principal(42), share.selection, share.recipients);
            let job_id = JobId::of_order(order_id());
            return Asked::Unshare(JobRequested { job_id, request, traceparent });
        }
    };
    Asked::Order(Order { id: order_id(), kind, job_id: job_id(), requested_by: principal(42), traceparent })
}

#[test]
fn orders_are_read_as_in_the_golden_files() {
    for name in GOLDEN {
        let text = golden(name).to_string();
        assert_eq!(ask(text.as_bytes()), Ok(expected(name)), "{name}");
        // A byte order mark, and the data as base64.
        assert_eq!(ask(format!("\u{feff}{text}").as_bytes()), Ok(expected(name)), "{name}");
        let mut encoded = golden(name);
        let data = encoded.as_object_mut().expect("an object").remove("data").expect("data").to_string();
        use base64::Engine as _;
        encoded["data_base64"] = base64::engine::general_purpose::STANDARD.encode(data).into();
        assert_eq!(ask(encoded.to_string().as_bytes()), Ok(expected(name)), "{name}");
        // Members of the envelope that are not ours, and a trace that is none.
        let mut open = golden(name);
        open["partitionkey"] = json!([{"deep": 1}]);
        open["traceparent"] = json!("no trace");
        let mut without = expected(name);
        without.traceparent_mut().take();
        assert_eq!(ask(open.to_string().as_bytes()), Ok(without), "{name}");
    }
}

#[test]
fn orders_in_binary_mode_are_read_like_structured_ones() {
    for name in GOLDEN {
        for prefix in ["cloudEvents:", "cloudEvents_", "ce-", "ce_"] {
            let event = golden(name);
            let headers: Vec<(String, String)> = event
                .as_object()
                .expect("an object")
                .iter()
                .filter_map(|(name, value)| Some((format!("{prefix}{name}"), value.as_str()?.to_owned())))
                .collect();
            let body = event["data"].to_string().into_bytes();
            let form = contract::structured(Some("application/json"), &headers, &body, 1 << 20)
                .expect("in binary mode");
            assert_eq!(ask(&form), Ok(expected(name)), "{name} {prefix}");
        }
    }
}

#[test]
fn an_order_that_is_no_event_is_told_by_its_field() {
    use DeadReason::{InvalidField, NotCloudevent, UnknownType, UnknownVersion};
    let mut table = Table(Vec::new());
    for name in GOLDEN {
        for field in ["specversion", "type", "source", "id"] {
            let pointer = format!("/{field}");
            table.row_of(name, &pointer, None, NotCloudevent, &format!("{field} is missing"));
            table.row_of(name, &pointer, Some(json!(7)), NotCloudevent, &format!("{field} must be a text"));
            table.row_of(
                name,
                &pointer,
                Some(json!("")),
                NotCloudevent,
                &format!("{field} must not be empty"),
            );
        }
        table.row_of(name, "/specversion", Some(json!("0.3")), UnknownVersion, "specversion is not 1.0");
        let kind = golden(name)["type"].as_str().expect("a type").to_owned();
        let family = kind.trim_end_matches('1');
        for version in ["2", "0", "12"] {
            let detail = format!("type is version {version}, known is 1");
            table.row_of(name, "/type", Some(json!(format!("{family}{version}"))), UnknownVersion, &detail);
        }
        for none in
            [family.to_owned(), format!("{kind}x"), kind.to_uppercase(), "batchshare.cancel.v1".to_owned()]
        {
            table.row_of(name, "/type", Some(json!(none)), UnknownType, UNKNOWN_TYPE);
        }
        for id in ["42", "0199c3a09d447f218a000123456789ab", "0199c3a0-9d44-7f21-8a00-0123456789ag"] {
            table.row_of(name, "/id", Some(json!(id)), InvalidField, "id must be a UUID");
        }
        table.row_of(name, "/data", None, NotCloudevent, "data is missing");
        for wrong in [json!([]), json!("x"), json!(7)] {
            table.row_of(name, "/data", Some(wrong), InvalidField, "data must be an object");
        }
    }
    table.check();
}

#[test]
fn each_field_of_an_order_is_named_where_it_is_wrong() {
    use DeadReason::InvalidField;
    let mut table = Table(Vec::new());
    for name in GOLDEN {
        for wrong in no_ids() {
            let detail = format!("data.requested_by must be an integer from 1 to {MAX_ID}");
            table.row_of(name, "/data/requested_by", Some(wrong), InvalidField, &detail);
        }
        for missing in [None, Some(Value::Null)] {
            table.row_of(name, "/data/requested_by", missing, InvalidField, "data.requested_by is missing");
        }
        for unknown in ["job", "reason", "permission", "Job_id"] {
            let detail = format!("data.{unknown} is not a field that can be set");
            table.row_of(name, &format!("/data/{unknown}"), Some(json!(1)), InvalidField, &detail);
        }
    }
    for name in ORDERS {
        for missing in [None, Some(Value::Null)] {
            table.row_of(name, "/data/job_id", missing, InvalidField, "data.job_id is missing");
        }
        for wrong in [json!(7), json!(true), json!([JOB])] {
            table.row_of(name, "/data/job_id", Some(wrong), InvalidField, "data.job_id must be a text");
        }
        table.row_of(name, "/data/job_id", Some(json!("")), InvalidField, "data.job_id must not be empty");
        for wrong in
            ["x", "0199c3a07b1e7c3a9f000123456789ab", "urn:uuid:0199c3a0-7b1e-7c3a-9f00-0123456789ab"]
        {
            table.row_of(
                name,
                "/data/job_id",
                Some(json!(wrong)),
                InvalidField,
                "data.job_id must be a UUID",
            );
        }
        // What a share has, an order has not.
        let detail = "data.secrets is not a field that can be set";
        table.row_of(name, "/data/secrets", Some(json!({"ids": [1]})), InvalidField, detail);
    }
    let name = "unshare.requested.ids";
    for (pointer, value, detail) in [
        ("/data/secrets", None, "data.secrets is missing"),
        ("/data/recipients", Some(json!([])), "data.recipients must not be empty"),
        (
            "/data/recipients/0/permission",
            Some(json!("none")),
            "data.recipients[0].permission must be view or edit",
        ),
        (
            "/data/recipients/1/kind",
            Some(json!("group")),
            "data.recipients[1].kind must be user, user_group or personal_group",
        ),
        ("/data/secrets/ids", Some(json!([])), "data.secrets.ids must not be empty"),
        ("/data/job_id", Some(json!(JOB)), "data.job_id is not a field that can be set"),
    ] {
        table.row_of(name, pointer, value, InvalidField, detail);
    }
    table.check();
}

#[test]
fn a_member_of_an_order_that_comes_twice_is_refused() {
    for name in GOLDEN {
        let text = golden(name).to_string();
        for (member, path) in [
            ("\"requested_by\":42", "data.requested_by"),
            ("\"source\":\"/mysafe/ui\"", "source"),
            ("\"specversion\":\"1.0\"", "specversion"),
        ] {
            let twice = text.replacen(member, &format!("{member},{member}"), 1);
            assert_ne!(twice, text);
            let poison = ask(twice.as_bytes()).expect_err(&twice);
            assert_eq!(poison.detail, format!("{path} came more than once"), "{name}");
        }
    }
    let text = golden("cancel.requested").to_string();
    let job = format!("\"job_id\":\"{JOB}\"");
    let poison = ask(text.replacen(&job, &format!("{job},{job}"), 1).as_bytes()).expect_err("twice");
    assert_eq!(poison.detail, "data.job_id came more than once");
}

/// The id of a cancel is no job's, and a job that takes access away is made only from what can be read.
#[test]
fn a_bad_order_fails_no_job() {
    for name in GOLDEN {
        let job = (*name != "cancel.requested").then(|| JobId::of_order(order_id()));
        for body in [
            with(name, "/data/requested_by", Some(json!("x"))),
            with(name, "/data/unknown", Some(json!(1))),
            with(name, "/source", None),
            with(
                name,
                "/type",
                Some(json!(golden(name)["type"].as_str().expect("a type").replace("v1", "v2"))),
            ),
        ] {
            let poison = ask(&body).expect_err("poison");
            assert_eq!((poison.failed_job(), poison.job_id), (None, job), "{name} {poison}");
        }
    }
}
