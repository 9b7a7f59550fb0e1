//! Dead letters at the operator's desk: every replay goes on where it stopped, and happens once.

use std::time::Duration;

use batchshare::contract;
use batchshare::contract::{Asked, JobRequested, Step};
use batchshare::domain::{DeadReason, DeadState, FailReason, JobId, JobState, Origin};
use batchshare::store::{
    Begun, ChunkDone, DeadFilter, DeadItem, DeadLetter, Discarded, LaneFound, MessageKind, NotReplayed,
    OutboxRow, Publisher, Recorded, Replayed,
};
use serde_json::json;
use uuid::Uuid;

use crate::audit::trail::trail;
use crate::on_both_stores;
use crate::world::*;

pub const LEASE: Duration = Duration::from_secs(30);

impl World {
    pub async fn replay(&self, id: i64) -> Replayed {
        self.store.replay_letter(id, LEASE, Publisher::AsItIs).await.expect("replay")
    }

    /// The dead letters, oldest first.
    pub async fn dead(&self) -> Vec<DeadItem> {
        let (mut items, _) =
            self.store.dead_letters(DeadFilter::default(), None, 1_000).await.expect("dead letters");
        items.reverse();
        items
    }

    /// Does what relay, worker and notifier do until nothing is left to do. The ids of terminal events.
    async fn work(&self) -> Vec<String> {
        let mut ended = Vec::new();
        loop {
            let messages = self.take_messages().await;
            if messages.is_empty() {
                return ended;
            }
            for row in messages {
                match row.kind {
                    MessageKind::Request => self.request(&row).await,
                    MessageKind::Step => {
                        self.step(&contract::decode_step(&row.body).expect("a step")).await;
                    }
                    MessageKind::Event(_, kind) if kind.is_terminal() => {
                        let event = contract::decode_event(&row.body).expect("an event");
                        self.store.make_notices(vec![(event.job_id, event.run)]).await.expect("notice");
                        ended.push(row.message_id);
                    }
                    MessageKind::Event(..) => {}
                }
            }
        }
    }

    async fn request(&self, row: &OutboxRow) {
        match contract::decode_asked(&row.body, self.options.limits.message_bytes) {
            Ok(Asked::Order(_) | Asked::Unshare(_)) => panic!("it is no share"),
            Ok(Asked::Share(asked)) => assert_ne!(self.begin(&asked).await, Begun::Conflict),
            Err(poison) => {
                let letter = letter(poison.reason, Origin::Request, row.body.clone());
                let letter = DeadLetter { message_id: Some(row.message_id.clone()), ..letter };
                self.store.bury(letter).await.expect("bury");
            }
        }
    }

    /// The only notice of ana: its run and state.
    async fn notice(&self) -> (i32, JobState) {
        let (notices, _) = self.store.notices(principal(ANA), false, None, 10).await.expect("notices");
        assert_eq!(notices.len(), 1, "{notices:?}");
        (notices[0].run, notices[0].state)
    }

    /// A job of 6 x 2 in chunks of 4 pairs and two lanes, of which the second has ended and the first has
    /// used up its attempts after one chunk. With the steps that its lanes began with.
    async fn exhausted(&self) -> (JobRequested, Vec<Step>) {
        self.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        assert!(matches!(self.begin(&asked).await, Begun::Started(_)));
        let first = self.steps().await;
        self.step(&first[1]).await;
        let rest = self.steps().await;
        self.step(&rest[0]).await;
        self.step(&first[0]).await;
        let step = self.steps().await.remove(0);
        for _ in 1..=5 {
            let LaneFound::Work(work) = self.store.lane(step.clone(), self.options.lane).await.expect("lane")
            else {
                panic!("the lane is open");
            };
            let body = contract::encode_step(&step, "");
            self.store
                .lane_failed(*work, body, "broken".to_owned(), vec![Duration::ZERO; 4])
                .await
                .expect("recorded");
        }
        let job = self.job(asked.job_id).await;
        assert_eq!((job.reason, job.counts), (Some(FailReason::AttemptsExhausted), counts(10, 0, 0, 0)));
        (asked, vec![step, rest[0].clone()])
    }

    pub async fn steps(&self) -> Vec<Step> {
        let messages = self.take_messages().await;
        let steps = messages.iter().filter(|row| row.kind == MessageKind::Step);
        steps.map(|row| contract::decode_step(&row.body).expect("a step")).collect()
    }
}

pub fn letter(reason: DeadReason, origin: Origin, body: Vec<u8>) -> DeadLetter {
    DeadLetter {
        dead_id: Uuid::now_v7().to_string(),
        reason,
        detail: "a reason".to_owned(),
        job_id: None,
        run: None,
        message_id: None,
        user_id: None,
        is_from_us: true,
        origin,
        headers: Default::default(),
        body: body.into(),
        readable_bytes: 2 * 1024 * 1024,
        received_at: 1_000,
    }
}

/// A request without recipients.
pub fn invalid(job: JobId) -> Vec<u8> {
    let data = json!({"requested_by": ANA, "secrets": {"ids": [101]}});
    let kind = "batchshare.job.requested.v1";
    json!({"specversion": "1.0", "id": job, "source": "/t", "type": kind, "data": data})
        .to_string()
        .into_bytes()
}

pub fn body_of(asked: &JobRequested) -> Vec<u8> {
    contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0)
}

fn terminal(job: JobId, run: i32) -> String {
    Uuid::new_v5(&job.uuid(), format!("terminal/{run}").as_bytes()).to_string()
}

on_both_stores! {
    async fn a_job_whose_attempts_are_used_up_goes_on_where_it_stopped(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, _) = world.exhausted().await;
        assert_eq!(world.work().await, [terminal(asked.job_id, 1)]);
        assert_eq!(world.notice().await, (1, JobState::Failed));
        // What was granted and taken back does not return: that part is not done again.
        world.test.sql("DELETE FROM grants WHERE secret_id = 101").await;

        let id = world.dead().await[0].id;
        assert_eq!(world.replay(id).await, Replayed::Reopened { job: asked.job_id, run: 2 });
        let recorded = trail(&world.test).await;
        assert_eq!((recorded.len(), &recorded[0].jobs), (1, &vec![asked.job_id]));
        assert_eq!((recorded[0].action.as_str(), &recorded[0].detail["run"]), ("dead_letter_replayed", &json!(2)));
        let job = world.job(asked.job_id).await;
        assert_eq!((job.run, job.state, job.reason, job.attempts), (2, JobState::Running, None, 0));
        assert_eq!((job.counts, job.finished_at, job.pairs), (counts(10, 0, 0, 0), None, Some(12)));
        assert!(job.started_at.is_some());
        assert_eq!(world.notice().await, (1, JobState::Failed), "until the new run has ended");

        assert_eq!(world.work().await, [terminal(asked.job_id, 2)]);
        let job = world.job(asked.job_id).await;
        assert_eq!((job.run, job.state, job.counts), (2, JobState::Completed, counts(12, 0, 0, 0)));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 10);
        assert_eq!(world.notice().await, (2, JobState::Completed));
        let dead = world.dead().await;
        assert_eq!((dead.len(), dead[0].state), (1, DeadState::Replayed));
        assert!(dead[0].state_at.is_some());
    }

    async fn what_the_older_run_left_behind_does_nothing(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        world.begin(&asked).await;
        let steps = world.steps().await;
        let LaneFound::Work(held) = world.store.lane(steps[0].clone(), world.options.lane).await.expect("lane") else {
            panic!("the lane is open");
        };
        // The broker gives one step up, while another worker has the lane in hand.
        let died = letter(DeadReason::DeliveryLimit, Origin::Step, contract::encode_step(&steps[0], ""));
        world.store.bury(died.clone()).await.expect("bury");
        let dead = world.dead().await;
        assert_eq!((dead[0].job_id, dead[0].run), (Some(asked.job_id), Some(1)));
        assert_eq!(world.replay(dead[0].id).await, Replayed::Reopened { job: asked.job_id, run: 2 });
        let fresh = world.steps().await;
        assert_eq!(fresh.iter().map(|step| (step.run, step.turn)).collect::<Vec<_>>(), [(2, 1), (2, 1)]);

        let options = world.options.lane;
        assert!(matches!(world.store.chunk((*held).clone(), true, options).await.expect("chunk"), ChunkDone::SomebodyElse));
        let failed = world.store.lane_failed((*held).clone(), Vec::new(), "old".to_owned(), vec![]).await;
        assert_eq!(failed.expect("recorded"), Recorded::SomebodyElse);
        world.store.requester_lost(*held).await.expect("nothing");
        for step in &steps {
            assert!(world.step(step).await.is_none(), "an old step");
        }
        let again = DeadLetter { dead_id: "again".to_owned(), ..died };
        world.store.bury(again).await.expect("bury");
        let request = letter(DeadReason::DeliveryLimit, Origin::Request, body_of(&asked));
        world.store.bury(request).await.expect("bury");
        let job = world.job(asked.job_id).await;
        assert_eq!((job.run, job.state, job.attempts), (2, JobState::Running, 0));

        for step in &fresh {
            world.step(step).await;
        }
        assert_eq!(world.work().await, [terminal(asked.job_id, 2)]);
        assert_eq!(world.job(asked.job_id).await.counts, counts(12, 0, 0, 0));
        assert_eq!(world.notice().await, (2, JobState::Completed));
    }

    async fn a_job_that_never_began_is_asked_for_again(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        for _ in 1..=5 {
            let (body, delays) = (body_of(&asked), vec![Duration::ZERO; 4]);
            world.store.request_failed(asked.clone(), body, "broken".to_owned(), delays).await.expect("recorded");
        }
        world.work().await;
        let id = world.dead().await[0].id;
        assert_eq!(world.replay(id).await, Replayed::Reopened { job: asked.job_id, run: 2 });
        assert_eq!(world.job(asked.job_id).await.state, JobState::Queued);
        // A dead request of the first run does not end the second, and the second's own does.
        let mut dead = letter(DeadReason::DeliveryLimit, Origin::Request, body_of(&asked));
        world.store.bury(dead.clone()).await.expect("bury");
        assert_eq!(world.job(asked.job_id).await.state, JobState::Queued);
        let sent = world.take_messages().await.remove(0);
        assert_eq!(sent.message_id, format!("{}/2", asked.job_id));
        (dead.dead_id, dead.message_id) = ("second".to_owned(), Some(sent.message_id));
        world.store.bury(dead).await.expect("bury");
        assert_eq!(world.job(asked.job_id).await.reason, Some(FailReason::AttemptsExhausted));
        let letters = world.dead().await;
        assert_eq!(letters.iter().map(|item| item.run).collect::<Vec<_>>(), [Some(1), Some(1), Some(2)]);
        let (older, latest) = (letters[1].id, letters[2].id);
        let job = asked.job_id;
        assert_eq!(world.replay(older).await, Replayed::Refused(NotReplayed::OlderRun { job, run: 1, now: 2 }));
        assert_eq!(world.replay(latest).await, Replayed::Reopened { job, run: 3 });
        assert_eq!(world.work().await, [terminal(job, 2), terminal(job, 3)]);
        let ended = world.job(job).await;
        assert_eq!((ended.run, ended.state, ended.counts), (3, JobState::Completed, counts(1, 0, 0, 0)));
        assert_eq!(world.notice().await, (3, JobState::Completed));
    }

    async fn a_request_that_the_broker_gave_up_is_asked_for_again(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        world.store.bury(letter(DeadReason::DeliveryLimit, Origin::Request, body_of(&asked))).await.expect("bury");
        world.work().await;
        assert_eq!(world.job(asked.job_id).await.reason, Some(FailReason::AttemptsExhausted));
        let id = world.dead().await[0].id;
        assert_eq!(world.replay(id).await, Replayed::Reopened { job: asked.job_id, run: 2 });
        assert_eq!(world.work().await, [terminal(asked.job_id, 2)]);
        assert_eq!(world.job(asked.job_id).await.counts, counts(1, 0, 0, 0));
    }

    async fn a_job_that_poison_made_waits_for_the_body_and_may_fail_again(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let job = JobId::generate();
        world.store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(job))).await.expect("bury");
        // The same again made nothing: it does not stand for the job.
        world.store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(job))).await.expect("bury");
        assert_eq!(world.work().await, [terminal(job, 1)]);
        let dead = world.dead().await;
        assert_eq!((dead[0].run, dead[1].run), (Some(1), None));
        assert_eq!(world.replay(dead[0].id).await, Replayed::Reopened { job, run: 2 });
        let queued = world.job(job).await;
        assert_eq!((queued.state, queued.reason, queued.pairs), (JobState::Queued, None, None));
        // An old duplicate of the poison does not act on the new run.
        world.store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(job))).await.expect("bury");
        assert_eq!(world.job(job).await.state, JobState::Queued);

        // It is poison still.
        assert_eq!(world.work().await, [terminal(job, 2)]);
        let failed = world.job(job).await;
        assert_eq!((failed.run, failed.state, failed.reason), (2, JobState::Failed, Some(FailReason::InvalidRequest)));
        assert_eq!(world.notice().await, (2, JobState::Failed));

        // Replayed once more, to a worker that can read it.
        let latest = world.dead().await[3].clone();
        assert_eq!((latest.job_id, latest.run), (Some(job), Some(2)));
        assert_eq!(world.replay(latest.id).await, Replayed::Reopened { job, run: 3 });
        world.take_messages().await;
        let other = share_as(EVA, share([101], &[BRUNO]).request.selection, vec![]);
        assert_eq!(world.begin(&JobRequested { job_id: job, ..other }).await, Begun::Conflict, "not who asked");
        let read = JobRequested { job_id: job, ..share([101], &[BRUNO]) };
        assert!(matches!(world.begin(&read).await, Begun::Ended(_)));
        assert_eq!(world.begin(&read).await, Begun::AlreadyBegun);
        assert_eq!(world.work().await, [terminal(job, 3)]);
        let ended = world.job(job).await;
        assert_eq!((ended.run, ended.state, ended.pairs), (3, JobState::Completed, Some(1)));
        assert_eq!(world.notice().await, (3, JobState::Completed));
    }

    async fn a_filled_job_that_fails_has_its_request(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        let job = asked.job_id;
        world.store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(job))).await.expect("bury");
        let id = world.dead().await[0].id;
        assert_eq!(world.replay(id).await, Replayed::Reopened { job, run: 2 });
        world.lose_letters().await;
        let failed = |delays| world.store.request_failed(asked.clone(), body_of(&asked), "broken".to_owned(), delays);
        assert!(matches!(failed(vec![Duration::ZERO; 4]).await.expect("recorded"), Recorded::Retry { .. }));
        assert_eq!(world.job(job).await.pairs, Some(1), "it is filled");
        world.time_passes(61).await;
        assert_eq!(world.store.wake_due(false, world.due_options()).await.expect("due work").requests, 1);
        assert_eq!(world.take_messages().await[0].message_id, format!("{job}/2"));
        assert_eq!(failed(vec![]).await.expect("recorded"), Recorded::Exhausted);
        let id = world.dead().await[1].id;
        assert_eq!(world.replay(id).await, Replayed::Reopened { job, run: 3 });
        world.work().await;
        assert_eq!(world.job(job).await.state, JobState::Completed);
    }

    async fn a_replayed_body_that_was_lost_is_sent_again(kind: Kind) {
        let world = World::new(kind).await;
        let job = JobId::generate();
        world.store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(job))).await.expect("bury");
        let id = world.dead().await[0].id;
        world.replay(id).await;
        world.lose_letters().await;
        world.time_passes(61).await;
        assert_eq!(world.store.wake_due(true, world.due_options()).await.expect("due work").requests, 1);
        let messages = world.take_messages().await;
        let expected = (invalid(job), format!("{job}/2"));
        assert_eq!((messages[0].body.clone(), messages[0].message_id.clone()), expected);
        // Whoever publishes can name the run: poison of another body says nothing of it.
        let named = |body| {
            let poison = letter(DeadReason::NotJson, Origin::Request, body);
            DeadLetter { message_id: Some(format!("{job}/2")), ..poison }
        };
        world.store.bury(named(b"{".to_vec())).await.expect("bury");
        assert_eq!(world.job(job).await.state, JobState::Queued);
        // Dead for whatever reason, even one that names no job, the body ends the run that waited for it.
        world.store.bury(named(invalid(job))).await.expect("bury");
        let ended = world.job(job).await;
        assert_eq!((ended.run, ended.state), (2, JobState::Failed));
        assert_eq!(world.dead().await[2].job_id, Some(job));
    }

    async fn other_letters_are_published_again_as_they_came(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        world.run(&asked).await;
        let before = world.job(asked.job_id).await;
        let cases = [
            (DeadReason::NotJson, b"\xff\0{".to_vec()),
            (DeadReason::NotCloudevent, b"[]".to_vec()),
            (DeadReason::UnknownVersion, b"{\"specversion\":\"2.0\"}".to_vec()),
            (DeadReason::UnknownType, b"{\"type\":\"x\"}".to_vec()),
            (DeadReason::InvalidField, b"{\"id\":1}".to_vec()),
            (DeadReason::TooLarge, vec![b' '; 10_000]),
            (DeadReason::Expired, body_of(&asked)),
            (DeadReason::QueueFull, body_of(&asked)),
            (DeadReason::Rejected, body_of(&asked)),
            (DeadReason::Unexplained, body_of(&asked)),
        ];
        for (reason, body) in cases {
            let buried = DeadLetter { message_id: Some("from outside".to_owned()), ..letter(reason, Origin::Request, body.clone()) };
            world.store.bury(buried).await.expect("bury");
            let item = world.dead().await.pop().expect("a letter");
            assert_eq!((item.reason, item.bytes), (reason, body.len() as u64));
            assert_eq!(world.replay(item.id).await, Replayed::Sent, "{reason}");
            let messages = world.take_messages().await;
            let sent = (messages[0].kind, messages[0].message_id.as_str(), &messages[0].body);
            assert_eq!(sent, (MessageKind::Request, "from outside", &body));
            assert_eq!(messages.len(), 1);
        }
        let step = letter(DeadReason::InvalidField, Origin::Step, b"{}".to_vec());
        let event = letter(DeadReason::DeliveryLimit, Origin::Event, b"{}".to_vec());
        for buried in [step, event] {
            world.store.bury(buried).await.expect("bury");
        }
        let [.., step, event] = &world.dead().await[..] else { panic!("two letters") };
        assert_eq!(world.replay(step.id).await, Replayed::Sent);
        assert_eq!(world.take_messages().await[0].kind, MessageKind::Step);
        assert_eq!(world.replay(event.id).await, Replayed::Refused(NotReplayed::NothingToSend));
        assert_eq!(world.dead().await[11].state, DeadState::Kept);
        assert_eq!(world.job(asked.job_id).await, before);
        assert_eq!(world.replay(4_711).await, Replayed::Absent);
    }

    async fn a_job_that_did_not_fail_so_is_not_reopened(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        world.begin(&asked).await;
        let job = asked.job_id;
        world.store.bury(letter(DeadReason::DeliveryLimit, Origin::Request, body_of(&asked))).await.expect("bury");
        let id = world.dead().await[0].id;
        let refused = |state, reason| Replayed::Refused(NotReplayed::NotFailedSo { job, state, reason });
        assert_eq!(world.replay(id).await, refused(JobState::Running, None));
        world.test.sql(&format!("UPDATE principals SET active = false WHERE id = {ANA}")).await;
        world.work().await;
        let before = world.job(job).await;
        let lost = Some(FailReason::RequesterNotValid);
        assert_eq!((before.state, before.reason), (JobState::Failed, lost));
        assert_eq!(world.replay(id).await, refused(JobState::Failed, lost));
        assert_eq!(world.job(job).await, before);
        assert_eq!(world.dead().await[0].state, DeadState::Kept);
        assert_eq!(world.store.unsent().await.expect("outbox"), 0);
    }

    async fn two_replays_at_once_are_one(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, _) = world.exhausted().await;
        world.work().await;
        let id = world.dead().await[0].id;
        let four = futures_util::future::join_all((0..4).map(|_| world.replay(id))).await;
        let done = four.iter().filter(|done| **done == Replayed::Reopened { job: asked.job_id, run: 2 }).count();
        let again = Replayed::Refused(NotReplayed::Settled(DeadState::Replayed));
        assert_eq!((done, four.iter().filter(|done| **done == again).count()), (1, 3), "{four:?}");
        assert_eq!(world.store.unsent().await.expect("outbox"), 1, "one step for the one open lane");
        world.work().await;
        assert_eq!(world.job(asked.job_id).await.counts, counts(12, 0, 0, 0));
        assert_eq!(world.replay(id).await, again);
    }

    async fn a_discarded_letter_stays_and_is_not_replayed(kind: Kind) {
        let world = World::new(kind).await;
        for reason in [DeadReason::NotJson, DeadReason::UnknownType, DeadReason::NotJson] {
            world.store.bury(letter(reason, Origin::Request, b"abc".to_vec())).await.expect("bury");
        }
        let id = world.store.kept_letters(Some(DeadReason::UnknownType)).await.expect("ids")[0];
        assert_eq!(world.store.discard_letter(id).await.expect("discard"), Discarded::Done);
        assert_eq!(world.store.discard_letter(id).await.expect("discard"), Discarded::Settled(DeadState::Discarded));
        assert_eq!(world.store.discard_letter(4_711).await.expect("discard"), Discarded::Absent);
        assert_eq!(world.replay(id).await, Replayed::Refused(NotReplayed::Settled(DeadState::Discarded)));
        let kept = world.store.dead_letter(id).await.expect("read").expect("it stays");
        // Of the body there is what tells which one it was.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((kept.item.state, kept.item.bytes), (DeadState::Discarded, 3));
        assert_eq!((kept.body, kept.freed.as_deref()), (Vec::new(), Some(digest)));
        assert_eq!(world.test.number("SELECT SUM(length(body)) FROM dead_letters").await, 6, "the others keep theirs");
        let sizes: Vec<u64> = world.dead().await.iter().map(|item| item.bytes).collect();
        assert_eq!(sizes, [3, 3, 3], "a listing says how large it was");
        assert!(kept.item.state_at.is_some());
        assert_eq!(world.store.kept_letters(None).await.expect("ids").len(), 2);
        let filter = DeadFilter { reason: Some(DeadReason::NotJson), state: Some(DeadState::Kept) };
        let (first, next) = world.store.dead_letters(filter, None, 1).await.expect("a page");
        let (second, end) = world.store.dead_letters(filter, next, 1).await.expect("a page");
        assert!(first[0].id > second[0].id);
        assert_eq!(end, None);
    }
}

impl World {
    /// Lets what is in the outbox be lost.
    pub async fn lose_letters(&self) {
        self.take_messages().await;
    }
}
