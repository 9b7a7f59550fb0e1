//! What a person may do with a secret is said in several places: the listing, the detail, "select all", the names in
//! a report, and the facts by which the worker decides. They say the same, for everybody and every secret.

use std::collections::BTreeMap;

use batchshare::domain::event::Subject;
use batchshare::domain::{FailReason, JobState, Permission, Reach, RejectReason, Selection};
use batchshare::store::{SecretFilter, SecretSort, SignIn};

use crate::on_both_stores;
use crate::properties::Scenario;
use crate::world::{World, principal, secret, share_as, to};

/// Each is one company; a failure names its seed.
const SEEDS: std::ops::Range<u64> = 1_000..1_040;

/// A user of whom nobody else has heard: what is granted to this user changes nobody's access.
const SINK: i64 = 900;

/// What the worker makes of a secret: what a plan tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    NotSeen,
    ViewOnly,
    Disabled,
    Done,
}

/// What a person may do with each secret, as the worker's plan finds it. `None` for who may not act.
async fn shared_by(world: &World, person: i64, ids: &[i64]) -> Option<BTreeMap<i64, Shared>> {
    let selection = Selection::Ids(ids.iter().map(|id| secret(*id)).collect());
    let job = world.run(&share_as(person, selection, vec![to(SINK, Permission::View)])).await;
    // A job of which nothing was shared has failed, too.
    if job.state == JobState::Failed && job.reason == Some(FailReason::RequesterNotValid) {
        return None;
    }
    let mut shared: BTreeMap<i64, Shared> = ids.iter().map(|id| (*id, Shared::Done)).collect();
    for rejection in &job.rejections {
        let Subject::Secret(id) = rejection.subject else {
            panic!("the recipient was rejected: {rejection:?}")
        };
        let found = match rejection.reason {
            RejectReason::NotFound => Shared::NotSeen,
            RejectReason::NotAllowed => Shared::ViewOnly,
            RejectReason::Disabled => Shared::Disabled,
            other => panic!("{other:?}"),
        };
        shared.insert(id.get(), found);
    }
    Some(shared)
}

on_both_stores! {
    async fn everybody_says_the_same_of_what_a_person_may_do_with_a_secret(kind: Kind) {
        let world = World::empty(kind).await;
        let mut seen = BTreeMap::new();
        for seed in SEEDS {
            let tables = ["jobs", "job_rejections", "outbox", "notices"];
            world.test.sql(&tables.map(|table| format!("DELETE FROM {table};")).concat()).await;
            Scenario::new(seed).write(&world).await;
            world
                .test
                .sql(&format!(
                    "INSERT INTO principals (id, kind, name, active, username, has_account, visible_to_members, search_text) \
                     VALUES ({SINK}, 1, 'sink', true, 'sink', true, false, 'sink')"
                ))
                .await;
            // One secret is of nobody's knowledge: it is not there.
            let ids: Vec<i64> = (101..=113).collect();
            for person in 1..=6 {
                let user = principal(person);
                let context = format!("seed {seed}, person {person}");
                let filter = SecretFilter::default;
                let (listed, _) = world
                    .store
                    .secrets(user, filter(), SecretSort::Id, None, 100)
                    .await
                    .expect("a listing");
                let listed: BTreeMap<i64, Reach> =
                    listed.into_iter().map(|item| (item.id.get(), item.reach)).collect();
                let selected: BTreeMap<i64, Option<RejectReason>> = world
                    .store
                    .selectable_secrets(user, filter(), None, 100)
                    .await
                    .expect("all")
                    .map(|secret| (secret.id.get(), secret.reason))
                    .collect();
                let every = ids.iter().map(|id| secret(*id)).collect();
                let named = world.store.secret_names_seen_by(user, every).await.expect("names");
                for id in &ids {
                    let detail = world.store.secret(user, secret(*id)).await.expect("a secret");
                    let reach = detail.map(|detail| detail.reach);
                    assert_eq!(listed.get(id).copied(), reach, "{context}: listing and detail of {id}");
                    assert_eq!(selected.contains_key(id), reach.is_some(), "{context}: all and detail of {id}");
                    let is_named = named.contains_key(&secret(*id));
                    assert_eq!(is_named, reach.is_some(), "{context}: name and detail of {id}");
                    *seen.entry(format!("{reach:?}")).or_insert(0) += 1;
                }
                let shared = shared_by(&world, person, &ids).await;
                // Who may act is said at the sign-in, in the chooser, and by the worker.
                let username = world
                    .test
                    .texts(&format!("SELECT username AS t FROM principals WHERE id = {person}"))
                    .await
                    .remove(0);
                let signs_in = matches!(world.store.sign_in(username).await.expect("a sign-in"), SignIn::Person(_));
                let chooser = world.store.people(0, 100).await.expect("people");
                assert_eq!(chooser.iter().any(|other| other.id == user), signs_in, "{context}: chooser and sign-in");
                assert_eq!(shared.is_some(), signs_in, "{context}: worker and sign-in");
                for (id, found) in shared.into_iter().flatten() {
                    let reason = selected.get(&id).copied();
                    let expected = match (listed.get(&id), reason.flatten()) {
                        (None, _) => Shared::NotSeen,
                        (Some(Reach::View), Some(RejectReason::NotAllowed)) => Shared::ViewOnly,
                        (Some(Reach::Edit | Reach::Owner), Some(RejectReason::Disabled)) => Shared::Disabled,
                        (Some(Reach::Edit | Reach::Owner), None) => Shared::Done,
                        other => panic!("{context}: listing and all of {id}: {other:?}"),
                    };
                    assert_eq!(found, expected, "{context}: worker and listing of {id}");
                }
            }
        }
        assert!(seen.len() == 4 && seen.values().all(|times| *times > 50), "{seen:?}");
    }
}
