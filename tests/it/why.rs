//! Why a person has access: the answer equals what is enforced, and names everything through which access comes.

use std::collections::BTreeMap;

use batchshare::domain::access::{Access, Inactive, Way};
use batchshare::domain::{Permission, Reach};
use batchshare::store::{Explained, Holders, SecretFilter, SecretSort, SignIn};
use futures_util::future::join_all;

use crate::on_both_stores;
use crate::properties::Scenario;
use crate::support::Kind;
use crate::world::{World, principal, secret, share_as, to};

/// Each is one company; a failure names its seed.
const SEEDS: std::ops::Range<u64> = 1_000..1_200;

impl World {
    async fn why(&self, reader: Option<i64>, id: i64, user: i64) -> Explained {
        let reader = reader.map(principal);
        self.store.why(reader, secret(id), principal(user)).await.expect("an answer")
    }

    /// As an operator is told.
    async fn explained(&self, id: i64, user: i64) -> Access {
        match self.why(None, id, user).await {
            Explained::Access(access) => access,
            other => panic!("{user} of {id}: {other:?}"),
        }
    }

    /// What each person may do with each secret of theirs, as the listing has it, and whether they may sign in.
    async fn enforced(&self, person: i64) -> (BTreeMap<i64, Reach>, bool) {
        let user = principal(person);
        let listing = self.store.secrets(user, SecretFilter::default(), SecretSort::Id, None, 100).await;
        let (listed, _) = listing.expect("a listing");
        let username =
            self.test.texts(&format!("SELECT username AS t FROM principals WHERE id = {person}")).await;
        let sign_in = self.store.sign_in(username[0].clone()).await.expect("a sign-in");
        let listed = listed.into_iter().map(|item| (item.id.get(), item.reach)).collect();
        (listed, matches!(sign_in, SignIn::Person(_)))
    }
}

on_both_stores! {
    async fn why_equals_what_is_enforced_for_every_person_and_secret(kind: Kind) {
        let world = World::empty(kind).await;
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for seed in SEEDS {
            Scenario::new(seed).write(&world).await;
            // One secret is of nobody's knowledge: it is not there.
            let last = world.test.number("SELECT max(id) FROM secrets").await;
            let mut enforced = BTreeMap::new();
            for person in 1..=6 {
                enforced.insert(person, world.enforced(person).await);
            }
            for id in 101..=last + 1 {
                let reader = 1 + (id + seed as i64) % 6;
                let reach = enforced[&reader].0.get(&id).copied();
                let told = world.store.holders(principal(reader), secret(id), 0, 100).await.expect("an answer");
                let context = format!("seed {seed}, secret {id}, reader {reader}: {told:?}");
                match told {
                    Holders::NotSeen => assert_eq!(reach, None, "{context}"),
                    Holders::NotAllowed => assert_eq!(reach, Some(Reach::View), "{context}"),
                    Holders::People(people) => {
                        assert!(reach.is_some_and(Reach::may_edit), "{context}");
                        let told: Vec<_> = people.iter().map(|one| (one.id.get(), one.reach)).collect();
                        let who = enforced.iter().filter(|(_, (_, signs_in))| *signs_in);
                        let expected: Vec<_> =
                            who.filter_map(|(person, (listed, _))| Some((*person, *listed.get(&id)?))).collect();
                        assert_eq!(told, expected, "{context}");
                        *seen.entry("people".to_owned()).or_default() += told.len();
                    }
                }
            }
            for person in 1..=6 {
                let (listed, signs_in) = &enforced[&person];
                let reader = 1 + (person + seed as i64) % 6;
                let answers = (101..=last + 1).map(async |id| {
                    (id, world.why(None, id, person).await, world.why(Some(reader), id, person).await)
                });
                for (id, operator, read) in join_all(answers).await {
                    let context = format!("seed {seed}, person {person}, secret {id}");
                    if id > last {
                        assert_eq!((&operator, &read), (&Explained::NotSeen, &Explained::NotSeen), "{context}");
                        continue;
                    }
                    let Explained::Access(access) = operator else { panic!("{context}: {operator:?}") };
                    let expected = listed.get(&id).copied().filter(|_| *signs_in);
                    assert_eq!(access.effective, expected, "{context}: {access:?}");
                    let active = |way: &&batchshare::domain::access::Because| way.inactive.is_none();
                    let highest = access.because.iter().filter(active).map(|way| way.reach).max();
                    assert_eq!(highest, expected, "{context}");
                    assert!(access.because.iter().map(|way| way.inactive.is_some()).is_sorted(), "{context}");
                    let ways = format!(
                        "SELECT (SELECT count(*) FROM secrets WHERE id = {id} AND owner_id = {person}) + \
                         (SELECT count(*) FROM grants WHERE secret_id = {id} AND (principal_id = {person} OR \
                          principal_id IN (SELECT group_id FROM members WHERE user_id = {person})))"
                    );
                    assert_eq!(access.because.len() as i64, world.test.number(&ways).await, "{context}");
                    // What a reader is told: the same without the names that they may not know, or nothing.
                    let reach = enforced[&reader].0.get(&id).copied();
                    let may = reach.is_some_and(|reach| reach.may_edit() || reader == person);
                    match read {
                        Explained::NotSeen => assert_eq!(reach, None, "{context}, reader {reader}"),
                        Explained::NotAllowed => assert!(reach.is_some() && !may, "{context}, reader {reader}"),
                        Explained::Nobody => panic!("{context}: nobody"),
                        Explained::Access(told) => {
                            assert!(may, "{context}, reader {reader}");
                            assert_eq!(told.effective, access.effective, "{context}");
                            let ids = told.because.iter().map(|way| way.principal).collect();
                            let names = world.store.principal_names_seen_by(principal(reader), ids).await;
                            let names = names.expect("names");
                            for (way, whole) in told.because.iter().zip(&access.because) {
                                assert_eq!(way.principal, whole.principal, "{context}");
                                let name = names.get(&way.principal).map(|known| known.name.clone());
                                assert_eq!(way.name, name, "{context}, reader {reader}");
                                *seen.entry(format!("named {}", name.is_some())).or_default() += 1;
                            }
                        }
                    }
                    *seen.entry(format!("{:?}", access.effective)).or_default() += 1;
                    for way in access.because {
                        *seen.entry(format!("{} {:?}", way.way, way.inactive)).or_default() += 1;
                    }
                }
            }
        }
        for what in Way::ALL.iter().map(|way| format!("{way} None")) {
            assert!(seen.get(&what).is_some_and(|times| *times > 50), "{what}: {seen:?}");
        }
        for what in ["None", "Some(View)", "Some(Edit)", "Some(Owner)", "named true", "named false", "people"] {
            assert!(seen.get(what).is_some_and(|times| *times > 50), "{what}: {seen:?}");
        }
        for cause in Inactive::ALL {
            let times: usize =
                seen.iter().filter(|(what, _)| what.ends_with(&format!("Some({cause:?})"))).map(|(_, n)| n).sum();
            assert!(times > 50, "{cause}: {seen:?}");
        }
    }

    async fn a_way_names_the_jobs_that_gave_it_and_since_when(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(1, [101]).await;
        let viewed = world.run(&share_as(1, ids(101), vec![to(2, Permission::View), to(10, Permission::View)])).await;
        let edited = world.run(&share_as(1, ids(101), vec![to(2, Permission::Edit)])).await;
        let access = world.explained(101, 2).await;
        assert_eq!(access.effective, Some(Reach::Edit));
        let [direct, group] = &access.because[..] else { panic!("{access:?}") };
        assert_eq!((direct.way, direct.reach), (Way::Direct, Reach::Edit));
        let view = direct.view.as_ref().expect("a job");
        let edit = direct.edit.as_ref().expect("a job");
        assert_eq!((view.job, edit.job), (viewed.job_id, edited.job_id));
        assert_eq!((view.requested_by, view.requester.as_deref()), (principal(1), Some("ana")));
        assert_eq!((view.requested_at, &view.note), (viewed.requested_at, &None));
        // Edit came when the second job did its work.
        let since = direct.since.expect("a time");
        assert!((edited.requested_at..=edited.finished_at.expect("ended")).contains(&since), "{since} {edited:?}");
        assert_eq!((group.way, group.name.as_deref()), (Way::UserGroup, Some("group 10")));
        assert_eq!((group.reach, &group.edit), (Reach::View, &None));
        assert_eq!(group.view.as_ref().expect("a job").job, viewed.job_id);
        // A row of which no job is known, with a time of the release before, which had milliseconds.
        world.test.sql("UPDATE grants SET granted_at = 1700000000123, edit_at = NULL, view_job = 0, edit_job = NULL, permission = 1").await;
        let access = world.explained(101, 2).await;
        for way in &access.because {
            assert_eq!((way.since, &way.view, &way.edit), (Some(1_700_000_000_123), &None, &None));
        }
    }

    async fn what_others_asked_for_too_counts_by_its_age_its_bits_and_unless_it_is_undone(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(1, [101]).await;
        let people = || vec![to(2, Permission::Edit), to(5, Permission::View), to(10, Permission::View)];
        let gave = world.run(&share_as(1, ids(101), people())).await;
        let mut jobs = Vec::new();
        for _ in 0..6 {
            jobs.push(world.run(&share_as(1, ids(101), people())).await);
        }
        let also = async |user: i64| -> Vec<(batchshare::domain::JobId, Permission)> {
            let access = world.explained(101, user).await;
            access.because[0].also_asked_by.iter().map(|also| (also.asking.job, also.permission)).collect()
        };
        let (view, edit) = (Permission::View, Permission::Edit);
        let asked = |permission| jobs.iter().rev().map(|job| (job.job_id, permission)).collect::<Vec<_>>();
        assert_eq!((also(2).await, also(5).await), (asked(edit), asked(view)));
        // From here on the claims are as this test writes them.
        let bits = match kind {
            Kind::Sqlite => "x'02'",
            Kind::Postgres => "decode('02', 'hex')",
        };
        world.test.sql("DELETE FROM claims; UPDATE grants SET granted_at = 2000000000000000").await;
        world.test.sql("UPDATE grants SET edit_at = 2000000000000010 WHERE principal_id = 2").await;
        let key = |job: &batchshare::domain::JobSnapshot| format!("(SELECT id FROM jobs WHERE job_id = '{}')", job.job_id);
        for (job, at, among) in [
            (&gave, 2_000_000_000_000_050_i64, "NULL"), // gave it, and asks for nothing besides
            (&jobs[0], 1_999_999_999_999_999, "NULL"),  // before the row came
            (&jobs[1], 2_000_000_000_000_005, "NULL"),  // before the edit came
            (&jobs[2], 2_000_000_000_000_020, "NULL"),
            (&jobs[3], 2_000_000_000_000_020, bits),    // of eva only
            (&jobs[4], 2_000_000_000_000_020, "NULL"),  // undone
        ] {
            world.test.sql(&format!("INSERT INTO claims (secret_id, job, at, among) VALUES (101, {}, {at}, {among})", key(job))).await;
        }
        let undo = |of: usize, by: usize, state: &str| format!(
            "UPDATE jobs SET undone_by = '{by}' WHERE job_id = '{of}'; \
             UPDATE jobs SET kind = 'undo', parent = '{of}', state = '{state}' WHERE job_id = '{by}';",
            of = jobs[of].job_id, by = jobs[by].job_id
        );
        world.test.sql(&undo(4, 5, "running")).await;
        assert_eq!(also(2).await, [(jobs[2].job_id, edit), (jobs[1].job_id, view)]);
        let of_eva = [(jobs[3].job_id, view), (jobs[2].job_id, view), (jobs[1].job_id, view)];
        assert_eq!(also(5).await, of_eva);
        // An undo that failed or was cancelled has undone nothing.
        for state in ["failed", "cancelled"] {
            world.test.sql(&undo(4, 5, state)).await;
            assert_eq!(also(2).await.len(), 3, "{state}");
        }
    }
}

fn ids(id: i64) -> batchshare::domain::Selection {
    batchshare::domain::Selection::Ids(vec![secret(id)])
}
