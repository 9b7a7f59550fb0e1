//! In random worlds, what the preview says is what the job then does.

use std::collections::BTreeSet;
use std::time::Duration;

use batchshare::domain::foresight::People;
use batchshare::domain::{FailReason, JobState};
use batchshare::store::ShareForeseen;

use crate::on_both_stores;
use crate::properties::{EMPTY, REQUESTER, Scenario};
use crate::support::Kind;
use crate::world::World;

/// Each is one company and one request; a failure names its seed. PostgreSQL gets fewer, since a statement costs more there.
const ON_SQLITE: std::ops::Range<u64> = 10_000..10_750;
const ON_POSTGRES: std::ops::Range<u64> = 10_750..11_000;
/// So many companies are in the database at a time, beside each other.
const TOGETHER: usize = 50;
/// It is never over, however busy the machine is.
const NO_HURRY: Duration = Duration::from_secs(3_600);

on_both_stores! {
    async fn a_preview_is_what_the_job_then_does(kind: Kind) {
        let mut world = World::empty(kind).await;
        let mut ended = BTreeSet::new();
        let worlds = match kind {
            Kind::Sqlite => ON_SQLITE,
            Kind::Postgres => ON_POSTGRES,
        };
        let seeds: Vec<u64> = worlds.collect();
        for (round, seeds) in seeds.chunks(TOGETHER).enumerate() {
            let companies: Vec<Scenario> = seeds.iter().map(|seed| Scenario::new(*seed)).collect();
            let shifts = (1_000..).step_by(1_000);
            let rows = companies.iter().zip(shifts.clone()).map(|(company, shift)| company.sql(shift));
            world.test.sql(&(EMPTY.to_owned() + &rows.collect::<String>())).await;
            let asked: Vec<_> =
                companies.iter().zip(shifts).map(|(company, shift)| company.asked_in(REQUESTER, shift)).collect();
            let mut foreseen = Vec::new();
            for asked in &asked {
                let look = world.store.foresee_share(asked.request.clone(), world.options.limits, NO_HURRY);
                foreseen.push(look.await.expect("a preview"));
            }
            // Half of them go through lanes, in chunks of a few pairs.
            world.set_chunks(if round % 2 == 0 { 10_000 } else { 1 + round as u64 % 7 });
            let begun = world.store.begin(asked.clone(), world.options.clone()).await.expect("begun");
            assert!(begun.iter().all(Option::is_some), "nobody else holds them");
            world.drain().await;
            for (((foreseen, asked), company), seed) in foreseen.into_iter().zip(&asked).zip(&companies).zip(seeds) {
                let job = world.job(asked.job_id).await;
                ended.insert(job.state.as_str());
                let what = || format!("seed {seed}: {company:#?}");
                let preview = match foreseen {
                    ShareForeseen::Preview(preview) => preview,
                    ShareForeseen::RequesterNotValid => {
                        assert_eq!(job.reason, Some(FailReason::RequesterNotValid), "{}", what());
                        continue;
                    }
                    ShareForeseen::NothingMatches => {
                        assert_eq!((job.state, job.secrets), (JobState::Failed, Some(0)), "{}", what());
                        continue;
                    }
                    ShareForeseen::OverLimit(over) => panic!("{over} {}", what()),
                };
                assert!(preview.exact, "{}", what());
                assert_eq!((preview.secrets, preview.pairs()), (job.secrets, job.pairs), "{}", what());
                assert_eq!((Some(preview.recipients), preview.counts), (job.recipients, job.counts), "{}", what());
                assert_eq!(preview.rejections, job.rejections, "{}", what());
                assert_eq!(preview.rejections_total, job.rejections_total, "{}", what());
                let (direct, through_groups, distinct) = company.people();
                let [direct, through_groups, distinct] = [direct, through_groups, distinct].map(|count| count as u64);
                assert_eq!(preview.people, Some(People { direct, through_groups, distinct }), "{}", what());
            }
        }
        assert_eq!(ended.len(), 3, "the worlds reach every end: {ended:?}");
    }
}
