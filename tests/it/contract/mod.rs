//! The messages as other programs see them: there is a golden file for each type. Tests say what a request may look
//! like, and which field of a bad request is named.

use batchshare::contract;
use batchshare::contract::{Asked, JobRequested, Poison, Step, StoredRequest};
use batchshare::domain::event::{EventKind, Rejection, Subject};
use batchshare::domain::{
    AllFilter, Counts, DeadReason, FailReason, JobId, JobSnapshot, JobState, MAX_ID, Permission,
    PrincipalKind, Recipient, RejectReason, Selection, ShareRequest,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{counts, principal, secret};

mod bad_requests;
mod binary;
mod corpus;
mod forms;
mod memory;
mod orders;
mod unknown;
mod unshare;

const JOB: &str = "0199c3a0-7b1e-7c3a-9f00-0123456789ab";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// 2026-11-22T19:45:00Z.
const ASKED: i64 = 1_795_376_700_000;

fn job_id() -> JobId {
    JOB.parse().expect("a UUID")
}

fn ask(body: &[u8]) -> Result<Asked, Poison> {
    contract::decode_asked(body, 2 * 1024 * 1024)
}

/// Reads a message that asks for a share, where it asks for anything.
fn decode(body: &[u8]) -> Result<JobRequested, Poison> {
    ask(body).map(|asked| match asked {
        Asked::Share(asked) => asked,
        other => panic!("{other:?}"),
    })
}

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/it/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a golden file");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON") + "\n";
    assert_eq!(pretty, text, "{name} is written as serde_json writes it");
    value
}

/// Checks that the bytes are those of the golden file without its line breaks and indents.
fn assert_golden(name: &str, body: Vec<u8>) {
    let found = String::from_utf8(body).expect("UTF-8");
    assert_eq!(found, golden(name).to_string(), "{name}");
}

fn to(kind: PrincipalKind, id: i64, permission: Permission) -> Recipient {
    Recipient { kind, id: principal(id), permission }
}

fn request(selection: Selection) -> ShareRequest {
    let recipients = [
        to(PrincipalKind::User, 7, Permission::View),
        to(PrincipalKind::UserGroup, 12, Permission::Edit),
        to(PrincipalKind::PersonalGroup, 31, Permission::View),
    ];
    ShareRequest::new(principal(42), selection, recipients)
}

fn requests() -> [(&'static str, ShareRequest); 3] {
    let ids = [101, 102, MAX_ID].map(secret).to_vec();
    let all = AllFilter {
        search: Some("ação \"50%\"".to_owned()),
        tag: Some("prod".to_owned()),
        shared: Some(false),
        except: [103, 104].map(secret).to_vec(),
    };
    let noted = request(Selection::Ids(ids.clone())).with_note(Some("Chaves novas, até sexta".to_owned()));
    [
        ("job.requested.ids", request(Selection::Ids(ids))),
        ("job.requested.all", request(Selection::All(all))),
        ("job.requested.note", noted),
    ]
}

fn snapshot(state: JobState, counts: Counts) -> JobSnapshot {
    JobSnapshot {
        kind: batchshare::domain::JobKind::Share,
        parent: None,
        undone_by: None,
        ended_by: None,
        note: None,
        taken: batchshare::domain::Taken::default(),
        job_id: job_id(),
        run: 1,
        requested_by: principal(42),
        state,
        reason: None,
        secrets: Some(3),
        recipients: Some(2),
        pairs: Some(6),
        counts,
        rejections: Vec::new(),
        rejections_total: 0,
        attempts: 0,
        requested_at: ASKED,
        started_at: Some(ASKED + 1_250),
        finished_at: state.is_terminal().then_some(ASKED + 2_000),
        retry: None,
    }
}

fn events() -> Vec<(&'static str, EventKind, &'static str, JobSnapshot)> {
    let rejections = [
        (Subject::Secret(secret(102)), RejectReason::NotAllowed, 3),
        (Subject::Recipient(PrincipalKind::PersonalGroup, principal(31)), RejectReason::Inactive, 1),
    ];
    let with_rejections = JobSnapshot {
        rejections: rejections.map(|(subject, reason, pairs)| Rejection { subject, reason, pairs }).to_vec(),
        rejections_total: 2,
        attempts: 1,
        ..snapshot(JobState::CompletedWithRejections, counts(2, 0, 0, 4))
    };
    let failed = JobSnapshot {
        run: 2,
        reason: Some(FailReason::InvalidRequest),
        secrets: None,
        recipients: None,
        pairs: None,
        started_at: None,
        ..snapshot(JobState::Failed, Counts::default())
    };
    vec![
        ("job.accepted", EventKind::Accepted, "", snapshot(JobState::Running, Counts::default())),
        ("job.progress", EventKind::Progress, "0/2", snapshot(JobState::Running, counts(2, 1, 0, 0))),
        ("job.completed", EventKind::Completed, "", snapshot(JobState::Completed, counts(3, 2, 1, 0))),
        ("job.completed_with_rejections", EventKind::Completed, "", with_rejections),
        ("job.failed", EventKind::Failed, "", failed),
        ("job.cancelled", EventKind::Cancelled, "", snapshot(JobState::Cancelled, counts(2, 0, 0, 0))),
    ]
}

fn step() -> Step {
    Step { job_id: job_id(), run: 1, lane: 0, turn: 7 }
}

#[test]
fn requests_are_written_and_read_as_in_the_golden_files() {
    for (name, request) in requests() {
        assert_golden(name, contract::encode_request(job_id(), &request, TRACE, ASKED));
        let read = decode(golden(name).to_string().as_bytes()).expect("valid");
        assert_eq!(read, JobRequested { job_id: job_id(), request, traceparent: Some(TRACE.to_owned()) });
    }
}

#[test]
fn events_are_written_and_read_as_in_the_golden_files() {
    for (name, kind, part, job) in events() {
        let (id, body) = contract::encode_event(kind, &job, part, TRACE, ASKED + 2_000);
        assert_eq!(golden(name)["id"], id.as_str());
        let read = contract::decode_event(&body).expect("valid");
        assert_eq!((read.kind, read.job_id, read.run), (kind, job.job_id, job.run));
        assert_golden(name, body);
    }
}

#[test]
fn a_step_is_written_and_read_as_in_its_golden_file() {
    assert_golden("job.step", contract::encode_step(&step(), TRACE));
    assert_eq!(contract::decode_step(golden("job.step").to_string().as_bytes()), Ok(step()));
}

#[test]
fn every_golden_file_has_its_test() {
    let mut tested: Vec<String> =
        requests().iter().map(|of| of.0).chain(events().iter().map(|of| of.0)).map(str::to_owned).collect();
    tested.extend(["job.step", "unshare.completed"].map(str::to_owned));
    tested.extend(orders::GOLDEN.iter().map(|name| (*name).to_owned()));
    tested.sort();
    let folder = format!("{}/tests/it/golden", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|file| file.expect("a file").file_name().to_string_lossy().replace(".json", ""))
        .collect();
    files.sort();
    assert_eq!(files, tested);
}

#[test]
fn an_event_shows_why_a_job_waits_and_the_reason_of_a_failed_job_only() {
    let retry = batchshare::domain::event::Retry {
        last_error: "deadlock detected".to_owned(),
        next_attempt_at: Some(ASKED + 5_000),
    };
    let waiting = JobSnapshot { retry: Some(retry), ..snapshot(JobState::Retrying, Counts::default()) };
    let (_, body) = contract::encode_event(EventKind::Progress, &waiting, "0/2", TRACE, ASKED);
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(event["data"]["state"], "retrying");
    assert_eq!(
        event["data"]["retry"],
        json!({"reason": "transient", "next_attempt_at": "2026-11-22T19:45:05Z"})
    );
    assert!(event["data"].get("reason").is_none());
    assert_eq!(golden("job.failed")["data"]["reason"], "invalid_request");
}

#[test]
fn the_smallest_request_is_valid_and_view_is_given_unless_edit_is_asked() {
    let body = json!({
        "specversion": "1.0", "id": JOB, "source": "s", "type": contract::REQUEST_TYPE,
        "data": {"requested_by": 42, "secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 7}]},
    });
    let read = decode(body.to_string().as_bytes()).expect("valid");
    assert_eq!(read.request.recipients, [to(PrincipalKind::User, 7, Permission::View)]);
    assert_eq!(read.traceparent, None);
    let mut all = body;
    all["data"]["secrets"] = json!({"all": {}});
    let read = decode(all.to_string().as_bytes()).expect("valid");
    assert_eq!(read.request.selection, Selection::All(AllFilter::default()));
}

#[test]
fn duplicates_merge_to_the_higher_permission() {
    let mut body = golden("job.requested.ids");
    body["data"]["secrets"]["ids"] = json!([103, 101, 103, 101]);
    body["data"]["recipients"] = json!([
        {"kind": "user", "id": 9},
        {"kind": "user", "id": 7, "permission": "edit"},
        {"kind": "user_group", "id": 7},
        {"kind": "user", "id": 7, "permission": "view"},
    ]);
    let read = decode(body.to_string().as_bytes()).expect("valid").request;
    assert_eq!(read.selection, Selection::Ids(vec![secret(101), secret(103)]));
    let expected = [
        to(PrincipalKind::User, 7, Permission::Edit),
        to(PrincipalKind::User, 9, Permission::View),
        to(PrincipalKind::UserGroup, 7, Permission::View),
    ];
    assert_eq!(read.recipients, expected);
    assert_eq!(read.pairs(), Some(6));
}

#[test]
fn a_job_id_is_accepted_in_upper_case_and_kept_in_lower_case() {
    let mut body = golden("job.requested.ids");
    body["id"] = JOB.to_uppercase().into();
    let read = decode(body.to_string().as_bytes()).expect("valid");
    assert_eq!(read.job_id.to_string(), JOB);
}

#[test]
fn optional_fields_that_are_null_are_as_if_absent() {
    let mut body = golden("job.requested.all");
    body["traceparent"] = Value::Null;
    body["data"]["secrets"] =
        json!({"ids": null, "all": {"search": null, "tag": null, "shared": null, "except": null}});
    body["data"]["recipients"][1]["permission"] = Value::Null;
    let read = decode(body.to_string().as_bytes()).expect("valid");
    assert_eq!(read.request.selection, Selection::All(AllFilter::default()));
    assert!(read.request.recipients.iter().all(|of| of.permission == Permission::View));
}

#[test]
fn a_traceparent_that_is_none_is_left_out_and_harms_nothing() {
    for bad in [json!("xyz"), json!(7), json!(TRACE.to_uppercase()), json!("00-0-0-01"), json!([TRACE])] {
        let mut body = golden("job.requested.ids");
        body["traceparent"] = bad;
        assert_eq!(decode(body.to_string().as_bytes()).expect("valid").traceparent, None);
    }
}

fn any_request() -> impl Strategy<Value = ShareRequest> {
    let ids = || prop::collection::vec((1..=MAX_ID).prop_map(secret), 1..20);
    let text = || prop::option::of("[a-zA-Zçãé\"\\\\%_ ]{0,12}");
    let all = (text(), text(), any::<Option<bool>>(), ids())
        .prop_map(|(search, tag, shared, except)| Selection::All(AllFilter { search, tag, shared, except }));
    let selection = prop_oneof![ids().prop_map(Selection::Ids), all];
    let recipient =
        (prop::sample::select(PrincipalKind::ALL), 1..9_i64, prop::sample::select(Permission::ALL))
            .prop_map(|(kind, id, permission)| to(kind, id, permission));
    let note = prop::option::of("[a-zA-Zçãé\"\\\\%_]{1,12}");
    (1..=MAX_ID, selection, prop::collection::vec(recipient, 1..12), note).prop_map(
        |(by, selection, recipients, note)| {
            ShareRequest::new(principal(by), selection, recipients).with_note(note)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(request in any_request()) {
        let read = decode(&contract::encode_request(job_id(), &request, TRACE, ASKED)).expect("valid");
        prop_assert_eq!(&read.request, &request);
        let stored = StoredRequest::of(&request);
        prop_assert_eq!(contract::selection_from_json(&stored.selection).expect("valid"), request.selection);
        prop_assert_eq!(contract::recipients_from_json(&stored.recipients).expect("valid"), request.recipients);
    }

    #[test]
    fn order_and_duplicates_do_not_change_the_digest(request in any_request(), twist in 0..100_usize) {
        let mut body: Value = serde_json::from_slice(&contract::encode_request(job_id(), &request, TRACE, ASKED)).expect("JSON");
        for list in ["/data/secrets/ids", "/data/secrets/all/except", "/data/recipients"] {
            if let Some(Value::Array(items)) = body.pointer_mut(list) {
                let twice = items[twist % items.len()].clone();
                let by = twist % items.len();
                items.rotate_left(by);
                items.reverse();
                items.push(twice);
            }
        }
        let read = decode(body.to_string().as_bytes()).expect("valid").request;
        prop_assert_eq!(StoredRequest::of(&read), StoredRequest::of(&request));
    }

    #[test]
    fn another_request_has_another_digest(request in any_request(), other in any_request()) {
        let same = StoredRequest::of(&request).digest == StoredRequest::of(&other).digest;
        prop_assert_eq!(same, request == other);
        let by = principal(request.requested_by.get() % MAX_ID + 1);
        let of_another = ShareRequest { requested_by: by, ..request.clone() };
        prop_assert_ne!(StoredRequest::of(&of_another).digest, StoredRequest::of(&request).digest);
        let other_note = request.clone().with_note(Some("another note".to_owned()));
        prop_assert_ne!(StoredRequest::of(&other_note).digest, StoredRequest::of(&request).digest);
    }

    #[test]
    fn bytes_of_any_kind_never_stop_the_reader(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&body).is_err());
        prop_assert!(contract::decode_step(&body).is_err());
        prop_assert!(contract::decode_event(&body).is_err());
    }
}
