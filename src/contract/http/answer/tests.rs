//! The texts of the answers: clients and golden files compare them to the letter.

use serde::Serialize;
use serde_json::Value;

use super::*;
use crate::contract::JobBody;
use crate::domain::event;
use crate::domain::{
    self, FailReason, JobId, JobSnapshot, JobState, Permission, PrincipalId, PrincipalKind, RejectReason,
    SecretId,
};

fn person(id: i64) -> PrincipalId {
    PrincipalId::try_from(id).expect("an id")
}

fn job_id() -> JobId {
    "01936f7e-0000-7000-8000-000000000001".parse().expect("an id")
}

fn snapshot() -> JobSnapshot {
    JobSnapshot {
        kind: crate::domain::JobKind::Share,
        parent: None,
        undone_by: None,
        ended_by: None,
        note: None,
        taken: crate::domain::Taken::default(),
        job_id: job_id(),
        run: 1,
        requested_by: person(1),
        state: JobState::Retrying,
        reason: None,
        secrets: Some(2),
        recipients: Some(3),
        pairs: Some(6),
        counts: domain::Counts { granted: 1, upgraded: 2, unchanged: 0, rejected: 1 },
        rejections: Vec::new(),
        rejections_total: 1,
        attempts: 2,
        requested_at: 0,
        started_at: Some(1_000),
        finished_at: None,
        retry: Some(event::Retry {
            last_error: "the database's words".to_owned(),
            next_attempt_at: Some(2_500),
        }),
    }
}

fn me() -> Me {
    Me { auth_mode: "demo", id: person(1), name: "Ana".to_owned(), username: "ana".to_owned() }
}

fn notice() -> Notice {
    Notice {
        counts: crate::contract::CountsBody::of(
            crate::domain::JobKind::Share,
            snapshot().counts,
            snapshot().taken,
        ),
        kind: crate::domain::JobKind::Share,
        parent: None,
        undone_by: None,
        note: None,
        created_at: Time(0),
        dismissed_at: None,
        done_pairs: 4,
        first_recipients: None,
        first_secrets: None,
        id: 7,
        job_id: job_id(),
        pairs: Some(6),
        reason: Some(FailReason::NothingToShare),
        recipients: Some(3),
        rejections_total: 1,
        run: 1,
        secrets: Some(2),
        state: JobState::Failed,
    }
}

fn owner() -> Owner {
    Owner { id: person(1), name: "Ana".to_owned(), username: None }
}

fn secret_item() -> SecretItem {
    SecretItem {
        disabled: false,
        id: SecretId::try_from(101).expect("an id"),
        identifier: None,
        name: "Stripe".to_owned(),
        owner: owner(),
        permission: "owner",
        shareable: true,
        shared: false,
        tags: vec!["prod".to_owned()],
        url: String::new(),
    }
}

fn secret() -> Secret {
    Secret {
        client_id: String::new(),
        disabled: false,
        has_client_secret: true,
        id: SecretId::try_from(101).expect("an id"),
        identifier: None,
        method: String::new(),
        name: "Stripe".to_owned(),
        notes: String::new(),
        owner: owner(),
        permission: "view",
        shareable: false,
        shared: true,
        tags: Vec::new(),
        updated_at: Time(0),
        url: String::new(),
    }
}

fn grant() -> Grant {
    Grant {
        email: None,
        granted_at: Time(0),
        job_id: Some(job_id()),
        kind: Some(PrincipalKind::User),
        name: None,
        permission: Permission::Edit,
        principal_id: person(2),
        username: None,
    }
}

fn recipient() -> Recipient {
    Recipient {
        eligible: false,
        email: None,
        id: person(2),
        kind: PrincipalKind::UserGroup,
        name: "Payments".to_owned(),
        reason: RejectReason::ALL.first().copied(),
        username: None,
    }
}

fn rejection() -> Rejection {
    Rejection {
        email: None,
        id: 2,
        kind: RejectionKind::Recipient,
        name: None,
        pairs: 3,
        reason: RejectReason::ALL[0],
        recipient_kind: Some(PrincipalKind::User),
        username: None,
    }
}

fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("JSON")
}

/// A `Value` writes its members in the order of the alphabet, as the answers always had them.
#[track_caller]
fn stands_in_the_order_of_the_alphabet(answer: &impl Serialize) {
    let text = text(answer);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(text, value.to_string());
}

#[test]
fn the_members_of_every_answer_stand_in_the_order_of_the_alphabet() {
    let (job, queues) = (JobBody::of(&snapshot()), vec!["q".to_owned()]);
    stands_in_the_order_of_the_alphabet(&Page { items: vec![job.clone()], next_cursor: None });
    stands_in_the_order_of_the_alphabet(&Snapshot { jobs: vec![job], me: me(), notices: vec![notice()] });
    stands_in_the_order_of_the_alphabet(&DemoPerson {
        id: person(1),
        name: String::new(),
        username: String::new(),
    });
    stands_in_the_order_of_the_alphabet(&secret_item());
    stands_in_the_order_of_the_alphabet(&secret());
    stands_in_the_order_of_the_alphabet(&grant());
    stands_in_the_order_of_the_alphabet(&recipient());
    stands_in_the_order_of_the_alphabet(&rejection());
    stands_in_the_order_of_the_alphabet(&share_preview());
    stands_in_the_order_of_the_alphabet(&Health {
        broker: "ok",
        database: "ok",
        dead_letters: Some(DeadLetters { queues: queues.clone(), status: "stuck" }),
        policies: Some(Policies { queues, status: "take messages" }),
        status: "degraded",
        waiting_for: Some("broker"),
    });
    stands_in_the_order_of_the_alphabet(&Problem {
        detail: "d".to_owned(),
        field: Some("f".to_owned()),
        preview: Some(Box::new(share_preview())),
        status: 400,
        title: "t",
        kind: "urn:x".to_owned(),
    });
}

fn share_preview() -> SharePreview {
    SharePreview {
        exact: true,
        granted: 1,
        pairs: Some(4),
        people: Some(People { direct: 1, distinct: 2, through_groups: 2 }),
        recipients: 2,
        rejected: 3,
        rejections: vec![rejection()],
        rejections_total: 1,
        secrets: Some(2),
        unchanged: 0,
        upgraded: 0,
    }
}

#[test]
fn a_job_is_written_to_the_letter() {
    assert_eq!(
        text(&JobBody::of(&snapshot())),
        r#"{"attempts":2,"counts":{"granted":1,"rejected":1,"unchanged":0,"upgraded":2},"done_pairs":4,"finished_at":null,"job_id":"01936f7e-0000-7000-8000-000000000001","kind":"share","pairs":6,"reason":null,"recipients":3,"rejections_total":1,"requested_at":"1970-01-01T00:00:00Z","retry":{"next_attempt_at":"1970-01-01T00:00:02.5Z","reason":"transient"},"run":1,"secrets":2,"started_at":"1970-01-01T00:00:01Z","state":"retrying"}"#
    );
    let ended = JobBody { retry: None, ..JobBody::of(&snapshot()) };
    assert!(!text(&ended).contains("\"retry\""), "a job that waits for nothing has no such member");
}

#[test]
fn small_answers_are_written_to_the_letter() {
    assert_eq!(text(&Live { status: "ok" }), r#"{"status":"ok"}"#);
    assert_eq!(text(&Beat::default()), "{}");
    assert_eq!(text(&NoClientSecret::default()), r#"{"client_secret":null}"#);
    assert_eq!(text(&me()), r#"{"auth_mode":"demo","id":1,"name":"Ana","username":"ana"}"#);
    let health = Health {
        broker: "ok",
        database: "ok",
        dead_letters: None,
        policies: None,
        status: "ok",
        waiting_for: None,
    };
    assert_eq!(text(&health), r#"{"broker":"ok","database":"ok","status":"ok"}"#);
    let kinds = [RejectionKind::Secret, RejectionKind::Recipient];
    assert_eq!(text(&kinds), r#"["secret","recipient"]"#);
    let page = Page { items: vec![1], next_cursor: Some("x".to_owned()) };
    assert_eq!(text(&page), r#"{"items":[1],"next_cursor":"x"}"#);
}
