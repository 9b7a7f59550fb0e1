//! Who still has access after access was taken away, and why.

use std::collections::BTreeSet;

use batchshare::domain::Permission::{Edit, View};
use batchshare::domain::access::Way;
use batchshare::domain::{JobId, Reach};
use batchshare::store::{Explained, Left, LeftCursor};

use super::desk::{all_of, run, unshare};
use crate::on_both_stores;
use crate::world::*;

impl World {
    /// All lines, read in pages of this size.
    async fn still_in(&self, reader: i64, job: JobId, limit: usize) -> Vec<Left> {
        let (mut lines, mut from) = (Vec::new(), Some(LeftCursor::default()));
        while let Some(at) = from {
            let page = self.store.access_left(principal(reader), job, at, limit).await.expect("an answer");
            assert!(page.0.len() <= limit);
            lines.extend(page.0);
            from = page.1;
        }
        lines
    }
}

on_both_stores! {
    async fn an_unshare_says_who_still_has_access_and_why(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=103).await;
        world.secrets(EVA, [104]).await;
        world.secrets(BRUNO, [105]).await;
        for of in [104, 105] {
            world.grant(of, ANA, if of == 104 { Edit } else { View }).await;
        }
        for of in 101..=105 {
            world.grant(of, EVA, View).await;
            world.grant(of, BRUNO, Edit).await;
            world.grant(of, DAVI_INACTIVE, View).await;
        }
        // Bruno keeps 101 and eva 102 through a group; an inactive group gives nothing.
        world.grant(101, PAYMENTS, View).await;
        world.grant(102, ANAS_OWN, Edit).await;
        world.grant(103, OLD_TEAM_INACTIVE, Edit).await;
        let asked = unshare(101..=105, vec![all_of(BRUNO), all_of(EVA), all_of(DAVI_INACTIVE), all_of(ANAS_TEAM)]);
        run(&world, &asked).await;
        let left = world.still_in(ANA, asked.job_id, 100).await;
        let told = |line: &Left| {
            let ways: Vec<Way> = line.access.because.iter().filter(|way| way.inactive.is_none()).map(|way| way.way).collect();
            (line.secret.get(), line.user.get(), line.access.effective.expect("access"), ways)
        };
        // Ana owns the first three and is a member of her team, which was asked about. 105 is not hers to know of.
        assert_eq!(left.iter().map(told).collect::<Vec<_>>(), [
            (101, ANA, Reach::Owner, vec![Way::Owner]),
            (101, BRUNO, Reach::View, vec![Way::UserGroup]),
            (102, ANA, Reach::Owner, vec![Way::Owner]),
            (102, EVA, Reach::Edit, vec![Way::PersonalGroup]),
            (103, ANA, Reach::Owner, vec![Way::Owner]),
            (104, ANA, Reach::Edit, vec![Way::Direct]),
            (104, EVA, Reach::Owner, vec![Way::Owner, Way::Direct]),
        ]);
        for limit in [1, 2, 3] {
            assert_eq!(world.still_in(ANA, asked.job_id, limit).await, left, "pages of {limit}");
        }
        // It is what the question about each of them would be answered with.
        let mut expected = BTreeSet::new();
        for of in 101..=104 {
            for user in [ANA, BRUNO, DAVI_INACTIVE, EVA] {
                let why = world.store.why(Some(principal(ANA)), secret(of), principal(user)).await.expect("an answer");
                match why {
                    Explained::Access(access) if access.effective.is_some() => {
                        expected.insert((of, user));
                    }
                    _ => {}
                }
            }
        }
        let pairs: BTreeSet<(i64, i64)> = left.iter().map(|line| (line.secret.get(), line.user.get())).collect();
        assert_eq!(pairs, expected);
        assert_eq!(world.still_in(BRUNO, JobId::generate(), 10).await, []);
    }
}
