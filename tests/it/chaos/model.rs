//! What the pairs of the regions must have when everything is quiet: what the acts say by the naive model of
//! `tests/it/wishes.rs`, with how far cancelled jobs came.

use std::collections::BTreeMap;

use batchshare::domain::{JobId, Permission};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::control::{Act, Noted, Rectangle};
use super::load::Ledger;
use crate::wishes::{Pair, Wishes};

/// A job as it ended.
#[derive(Debug, QueryableByName)]
pub struct Ended {
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = Text)]
    pub state: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    /// The positions that its lanes came to, as `begin,position`, or nothing.
    #[diesel(sql_type = Text)]
    reached: String,
    #[diesel(sql_type = BigInt)]
    done: i64,
}

/// A lane begins where the one before it ends.
const ENDED: &str = "SELECT j.job_id, j.state, j.reason, \
    COALESCE((SELECT string_agg(l.begins || ',' || l.position, ' ') FROM (SELECT position, \
      COALESCE(lag(end_position) OVER (ORDER BY lane), 0) AS begins FROM lanes WHERE job = j.id) l), '') AS reached, \
    j.granted + j.upgraded + j.unchanged + j.rejected + COALESCE(j.revoked + j.lowered + j.kept + j.untouched, 0) AS done \
    FROM jobs j WHERE j.finished_at IS NOT NULL";

pub fn ended(conn: &mut diesel::PgConnection) -> BTreeMap<String, Ended> {
    let rows: Vec<Ended> = diesel::sql_query(ENDED).load(conn).expect("jobs");
    rows.into_iter().map(|job| (job.job_id.clone(), job)).collect()
}

impl Ended {
    /// The pairs that a job came to.
    fn came_to(&self, about: &Rectangle) -> Vec<Pair> {
        if self.state == "completed" {
            return about.pairs().collect();
        }
        let mut pairs = Vec::new();
        for lane in self.reached.split_whitespace() {
            let (from, to) = lane.split_once(',').expect("two positions");
            let place = |position: &str| about.secrets.start + position.parse::<i64>().expect("a position");
            let secrets = place(from)..place(to);
            pairs.extend(Rectangle { secrets, people: about.people.clone() }.pairs());
        }
        assert_eq!(self.done, pairs.len() as i64, "{} counts what its lanes came to", self.job_id);
        pairs
    }
}

/// What each pair of the regions must have.
pub fn expected(ended: &BTreeMap<String, Ended>, ledger: &Ledger) -> BTreeMap<Pair, i16> {
    let mut wishes = Wishes::default();
    let id = |job: &str| -> JobId { job.parse().expect("an id") };
    for Noted { job, act } in &ledger.acts {
        let of = job.as_ref().map(|job| (id(job), &ended[job]));
        match (act, of) {
            (Act::Share(about, permission), Some((job, of))) => {
                of.came_to(about).into_iter().for_each(|pair| wishes.share(job, pair, *permission));
            }
            (Act::Undo { parent, .. }, Some((_, of))) => {
                // One that failed or was cancelled was followed by another, or did nothing.
                if of.state == "completed" {
                    wishes.undo(id(parent));
                }
            }
            (Act::Unshare(about, Permission::View), Some((_, of))) => {
                of.came_to(about).into_iter().for_each(|pair| wishes.take(pair));
            }
            (Act::Unshare(about, Permission::Edit), Some((_, of))) => {
                of.came_to(about).into_iter().for_each(|pair| wishes.lower(pair));
            }
            (Act::Hand(secret, person), None) => wishes.take((*secret, *person)),
            other => panic!("{other:?}"),
        }
    }
    wishes.expected()
}
