//! A batch that was received opens its secrets: those of which its recipient got something.

use batchshare::domain::{Permission, Selection};

use crate::on_both_stores;
use crate::world::*;

on_both_stores! {
    async fn a_batch_opens_the_secrets_that_its_recipient_got(kind: Kind) {
        // One chunk, and lanes with chunks of one secret.
        let mut world = World::new(kind).await;
        world.secrets(ANA, 101..=124).await;
        for (chunk, first) in [(10_000, 101), (1, 113)] {
            world.set_chunks(chunk);
            for had in [first + 1, first + 4, first + 5] {
                world.grant(had, BRUNO, Permission::View).await;
            }
            let selection = Selection::Ids((first..=first + 5).map(secret).collect());
            let asked = share_as(ANA, selection, vec![to(BRUNO, Permission::View), to(PAYMENTS, Permission::Edit)]);
            let job = world.run(&asked).await.job_id;
            world.store.make_notices(vec![(job, 1)]).await.expect("a notice");
            let page = world.store.received(principal(BRUNO), None, 2).await.expect("a page");
            for item in page.items {
                assert_eq!(item.job, job);
                let mut got = Vec::new();
                let mut from = 0;
                loop {
                    let opened = world.store.received_secrets(principal(BRUNO), item.id, from, 2).await;
                    let part = opened.expect("an answer").expect("an entry");
                    let Some((last, _)) = part.last() else { break };
                    from = last + 1;
                    got.extend(part.into_iter().map(|(_, id)| id.get()));
                }
                let all: Vec<i64> = (first..=first + 5).collect();
                let new = vec![first, first + 2, first + 3];
                assert_eq!(got, if item.to.get() == BRUNO { new } else { all });
                // It is nobody else's.
                for other in [ANA, EVA] {
                    let opened = world.store.received_secrets(principal(other), item.id, 0, 2).await;
                    assert_eq!(opened.expect("an answer"), None);
                }
            }
        }
    }
}
