//! The messages of an unshare: its request and its events.

use super::*;
use batchshare::contract::{UNSHARE_TYPE, event_type};
use batchshare::domain::{JobKind, Taken};

#[test]
fn the_request_of_an_unshare_is_written_as_in_its_golden_file() {
    // An unshare has no note.
    for (name, share) in requests().into_iter().filter(|(_, share)| share.note.is_none()) {
        let name = name.replace("job", "unshare");
        let request = ShareRequest::taking(share.requested_by, share.selection, share.recipients);
        let Asked::Unshare(read) = ask(golden(&name).to_string().as_bytes()).expect("valid") else {
            panic!("no unshare")
        };
        assert_eq!(read.request, request, "{name}");
        let written = contract::encode_request(read.job_id, &request, TRACE, ASKED);
        let written: Value = serde_json::from_slice(&written).expect("JSON");
        for field in ["data", "id", "type", "specversion", "traceparent"] {
            assert_eq!(written[field], golden(&name)[field], "{name} {field}");
        }
    }
    assert_eq!(golden("unshare.requested.ids")["type"], UNSHARE_TYPE);
}

/// The fields are those of a share, so what is wrong with one is wrong with the other, too.
#[test]
fn what_is_wrong_in_a_share_is_wrong_in_an_unshare() {
    let wrong = [
        ("/data/requested_by", json!(0)),
        ("/data/secrets", json!({})),
        ("/data/secrets/ids", json!([])),
        ("/data/recipients", json!([])),
        ("/data/recipients/0/permission", json!("none")),
        ("/data/recipients/0/take", json!("view")),
        ("/data/parent", json!(JOB)),
        ("/id", json!("7")),
        ("/specversion", json!("0.3")),
    ];
    for (pointer, value) in wrong {
        let told = |name: &str| {
            let mut body = golden(name);
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            body.pointer_mut(parent).expect("it is there")[field] = value.clone();
            let poison = ask(body.to_string().as_bytes()).expect_err(pointer);
            (poison.reason, poison.detail)
        };
        assert_eq!(told("unshare.requested.ids"), told("job.requested.ids"), "{pointer}");
    }
}

#[test]
fn an_unshare_has_no_note() {
    let mut body = golden("unshare.requested.ids");
    body["data"]["note"] = json!("Bye");
    let poison = ask(body.to_string().as_bytes()).expect_err("a note");
    assert_eq!(
        (poison.reason, poison.detail.as_str()),
        (DeadReason::InvalidField, "data.note is not a field that can be set")
    );
}

#[test]
fn the_event_of_an_unshare_tells_what_was_taken() {
    let taken = Taken { revoked: 3, lowered: 1, kept: 0, untouched: 2 };
    let counts = Counts { rejected: 2, ..Counts::default() };
    let job = JobSnapshot {
        kind: JobKind::Unshare,
        taken,
        pairs: Some(8),
        ..snapshot(JobState::CompletedWithRejections, counts)
    };
    let (_, body) = contract::encode_event(EventKind::Completed, &job, "", TRACE, ASKED + 2_000);
    assert_golden("unshare.completed", body);
    assert_eq!(golden("unshare.completed")["type"], event_type(JobKind::Unshare, EventKind::Completed));
}

proptest! {
    #[test]
    fn an_unshare_is_stored_in_a_form_of_its_own(lower in proptest::collection::vec(any::<bool>(), 1..6)) {
        let recipients = lower.iter().zip(1..).map(|(lower, id)| {
            to(PrincipalKind::User, id, if *lower { Permission::Edit } else { Permission::View })
        });
        let selection = Selection::Ids(vec![secret(101)]);
        let unshare = ShareRequest::taking(principal(42), selection.clone(), recipients.clone());
        let share = ShareRequest::new(principal(42), selection, recipients);
        let (kept, of_share) = (StoredRequest::of(&unshare), StoredRequest::of(&share));
        prop_assert_ne!(&kept.recipients, &of_share.recipients);
        prop_assert_ne!(&kept.digest, &of_share.digest);
        prop_assert_eq!(&kept.selection, &of_share.selection);
        prop_assert_eq!(contract::recipients_from_json(&kept.recipients).expect("valid"), unshare.recipients);
    }
}
