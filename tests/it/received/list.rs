//! How a person reads what they and their groups received.

use batchshare::domain::received::{Received, ReceivedState};
use batchshare::domain::{EndedBy, JobId, JobSnapshot, Permission};
use batchshare::store::{UndoBy, UndoOrder, UndoOrdered};
use diesel::connection::{Connection as _, SimpleConnection as _};

use crate::on_both_stores;
use crate::support::{Kind, eventually};
use crate::world::*;

impl World {
    async fn shared(&self, by: i64, secrets: &[i64], recipients: &[i64]) -> JobId {
        let recipients = recipients.iter().map(|id| to(*id, Permission::View)).collect();
        let selection = batchshare::domain::Selection::Ids(secrets.iter().map(|id| secret(*id)).collect());
        let job = self.run(&share_as(by, selection, recipients)).await.job_id;
        self.store.make_notices(vec![(job, 1)]).await.expect("a notice");
        job
    }

    /// Everything that the person received, and how much of it they have not seen.
    async fn list(&self, person: i64) -> (Vec<Received>, i64) {
        let page = self.store.received(principal(person), None, 100).await.expect("a page");
        assert_eq!(page.next, None);
        (page.items, page.unseen)
    }

    async fn jobs(&self, person: i64) -> Vec<JobId> {
        self.list(person).await.0.into_iter().map(|item| item.job).collect()
    }

    async fn state(&self, person: i64, job: JobId) -> ReceivedState {
        let (items, _) = self.list(person).await;
        items.into_iter().find(|item| item.job == job).expect("an entry").state
    }

    async fn order_undo(&self, parent: JobId) -> JobSnapshot {
        let by = UndoBy::Person(principal(ANA));
        let order = UndoOrder { parent, by, idempotency_key: None, traceparent: None };
        match self.store.undo(order, self.options.clone()).await.expect("an answer") {
            UndoOrdered::Accepted(undo) => undo,
            other => panic!("{other:?}"),
        }
    }
}

on_both_stores! {
    async fn i_read_what_was_shared_with_me_and_with_my_active_groups(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=104).await;
        world.secrets(BRUNO, 201..=204).await;
        let mine = world.shared(ANA, &[101, 102], &[BRUNO, EVA]).await;
        let teams = world.shared(ANA, &[103], &[PAYMENTS]).await;
        let (items, unseen) = world.list(BRUNO).await;
        assert_eq!((items.len(), unseen), (2, 2));
        let told = |item: &Received| {
            (item.job, item.to.get(), item.to_name.clone(), item.secrets, item.sharer.clone(), item.seen)
        };
        let ana = Some("ana".to_owned());
        assert_eq!(told(&items[0]), (teams, PAYMENTS, Some("group 10".to_owned()), 1, ana.clone(), false));
        assert_eq!(told(&items[1]), (mine, BRUNO, Some("bruno".to_owned()), 2, ana, false));
        assert_eq!((items[0].permission, items[0].state), (Permission::View, ReceivedState::Shared));
        assert_eq!(world.jobs(EVA).await, [mine]);
        assert!(world.jobs(ANA).await.is_empty());
        // A group of mine that I shared with myself, one that is not active, and one whose name I may not know.
        world.shared(ANA, &[101], &[ANAS_TEAM]).await;
        assert!(world.jobs(ANA).await.is_empty());
        let seen = world.shared(BRUNO, &[201], &[BRUNOS_SEEN]).await;
        let hidden = world.shared(BRUNO, &[202], &[BRUNOS_HIDDEN]).await;
        let (items, unseen) = world.list(ANA).await;
        let names: Vec<_> = items.iter().map(|item| (item.job, item.to_name.as_deref())).collect();
        assert_eq!((names, unseen), (vec![(hidden, None), (seen, Some("group 22"))], 2));
        world.test.sql(&format!("UPDATE principals SET active = false WHERE id = {BRUNOS_SEEN}")).await;
        assert_eq!(world.jobs(ANA).await, [hidden]);
        // Whoever leaves a group reads no more of it.
        world.test.sql("DELETE FROM members").await;
        assert!(world.jobs(ANA).await.is_empty());
        assert_eq!(world.jobs(BRUNO).await, [mine]);
    }

    async fn seen_is_kept_for_each_person_and_never_goes_back(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=104).await;
        world.test.sql(&format!("INSERT INTO members (group_id, user_id) VALUES ({PAYMENTS}, {EVA})")).await;
        for id in 101..=103 {
            world.shared(ANA, &[id], &[PAYMENTS]).await;
        }
        let see = async |person: i64, id: i64| world.store.see_received(principal(person), id).await.expect("an answer");
        let ids: Vec<i64> = world.list(BRUNO).await.0.iter().map(|item| item.id).collect();
        assert!(ids.is_sorted_by(|a, b| a > b), "the newest first: {ids:?}");
        for (marked, unseen) in [(ids[1], 1), (ids[2], 1), (ids[1], 1), (ids[0], 0), (ids[1], 0)] {
            assert!(see(BRUNO, marked).await);
            let (items, found) = world.list(BRUNO).await;
            let new = items.iter().filter(|item| !item.seen).count();
            assert_eq!((found, new), (unseen, usize::try_from(unseen).expect("a count")), "{marked}");
        }
        assert_eq!(world.list(EVA).await.1, 3, "seen by somebody else");
        // Ids that are not the person's mark nothing.
        for (person, id) in [(ANA, ids[0]), (EVA, 0), (EVA, -1), (EVA, ids[0] + 1), (EVA, i64::MAX)] {
            assert!(!see(person, id).await, "{person} {id}");
        }
        assert_eq!(world.list(EVA).await.1, 3);
        world.shared(ANA, &[104], &[BRUNO]).await;
        assert_eq!(world.list(BRUNO).await.1, 1);
    }

    async fn pages_go_on_where_the_one_before_ended(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=107).await;
        for id in 101..=107 {
            world.shared(ANA, &[id], if id % 2 == 0 { &[BRUNO] } else { &[PAYMENTS] }).await;
        }
        let all: Vec<i64> = world.list(BRUNO).await.0.iter().map(|item| item.id).collect();
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = world.store.received(principal(BRUNO), before, 3).await.expect("a page");
            assert!(page.items.len() <= 3 && page.unseen == 7);
            paged.extend(page.items.iter().map(|item| item.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!((paged.len(), &paged), (7, &all));
    }

    async fn what_became_of_a_batch_is_read_from_its_undos(kind: Kind) {
        let world = World::with_chunks(kind, 1).await;
        world.secrets(ANA, 101..=104).await;
        let job = world.shared(ANA, &[101, 102], &[BRUNO]).await;
        let other = world.shared(ANA, &[103, 104], &[BRUNO]).await;
        // An undo that was cancelled before it took anything.
        let undo = world.order_undo(job).await;
        assert_eq!(world.state(BRUNO, job).await, ReceivedState::PartlyUndone, "an undo is at work");
        world.take_messages().await;
        world.store.cancel(undo.job_id, EndedBy::Person(principal(ANA))).await.expect("an answer");
        assert_eq!(world.state(BRUNO, job).await, ReceivedState::Shared);
        // One that was cancelled in the middle.
        let undo = world.order_undo(job).await;
        let steps = world.take_messages().await;
        let step = steps.iter().find_map(|row| batchshare::contract::decode_step(&row.body).ok()).expect("a step");
        world.step(&step).await;
        world.take_messages().await;
        world.store.cancel(undo.job_id, EndedBy::Person(principal(ANA))).await.expect("an answer");
        assert_eq!(world.state(BRUNO, job).await, ReceivedState::PartlyUndone);
        // One to the end.
        world.order_undo(job).await;
        world.drain().await;
        assert_eq!(world.state(BRUNO, job).await, ReceivedState::Undone);
        assert_eq!(world.state(BRUNO, other).await, ReceivedState::Shared);
        // An undo tells nobody that they received something.
        assert_eq!(world.list(BRUNO).await.1, 2);
    }
}

/// Rows are committed in the order of their ids: whoever has a row waits before its id is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_notifiers_number_their_entries_one_after_the_other() {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, [101, 102]).await;
    let first = world.run(&share([101], &[BRUNO])).await.job_id;
    let second = world.run(&share([102], &[BRUNO])).await.job_id;
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    // This transaction stands for a notifier before its commit.
    let mut other = diesel::PgConnection::establish(&world.test.url).expect("a connection");
    other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7226911801)").expect("the lock is held");
    let store = world.store.clone();
    // A notifier that waits for too long tries again.
    let told = tokio::spawn(async move { while store.make_notices(vec![(first, 1)]).await.is_err() {} });
    eventually("the second one waits", 30, async || (world.test.number(waiting).await > 0).then_some(()))
        .await;
    assert_eq!(world.test.number("SELECT COUNT(*) FROM received").await, 0);
    other.batch_execute("COMMIT").expect("committed");
    told.await.expect("told");
    world.store.make_notices(vec![(second, 1)]).await.expect("told");
    assert_eq!(world.jobs(BRUNO).await, [second, first]);
}
