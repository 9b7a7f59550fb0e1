//! Compares the database with the reference after every call that wrote.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::db::Db;
use serde_json::Value;

use super::company::{Company, Counts, Id, Wish};

/// A text that says what went wrong.
pub type Wrong = String;

/// One row of JSON from the database.
pub async fn json(db: &Db, sql: &str) -> Value {
    use diesel::prelude::*;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        text: String,
    }
    let sql = format!("SELECT CAST(({sql}) AS TEXT) AS text");
    let read = db.read(move |conn| Ok(diesel::sql_query(sql).get_result::<Row>(conn)?.text)).await;
    serde_json::from_str(&read.expect("the database answers")).expect("JSON")
}

const LOOK: &str = "SELECT json_object( \
    'jobs', (SELECT json_group_array(json_array(id, job_id, idempotency_key, state, reason, \
        json_array(granted, upgraded, unchanged, rejected), pairs, failures)) FROM (SELECT * FROM jobs ORDER BY id)), \
    'lanes', (SELECT json_group_array(json_array(job, lane, position, \
        json_array(granted, upgraded, unchanged, rejected))) FROM (SELECT * FROM lanes ORDER BY job, lane)), \
    'grants', (SELECT json_group_array(json_array(secret_id, principal_id, permission)) FROM grants), \
    'told', (SELECT json_group_array(json_array(id, CAST(body AS TEXT))) FROM queue_messages \
        WHERE queue = 'notices' AND id > SEEN))";

/// A job as it was when it was last looked at.
#[derive(Clone, Debug, Default)]
struct Seen {
    row: Value,
    ended: bool,
    /// The position of each lane.
    positions: BTreeMap<i64, usize>,
    counts: Counts,
}

pub struct Watch {
    pub company: Company,
    /// The requests, by job id, or by the idempotency key of a request over HTTP.
    pub wishes: BTreeMap<String, Wish>,
    jobs: BTreeMap<i64, Seen>,
    last_told: i64,
    /// The different terminal events that were sent, by job.
    pub told: BTreeMap<String, BTreeSet<String>>,
    /// Whether attempts may be used up, because something fails on purpose again and again.
    pub failures: bool,
}

fn counts_of(value: &Value) -> Counts {
    std::array::from_fn(|place| value[place].as_i64().expect("a count"))
}

fn add(to: &mut Counts, more: Counts) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
}

fn terminal(state: &str) -> bool {
    matches!(state, "completed" | "completed_with_rejections" | "failed")
}

impl Watch {
    pub fn new(company: Company) -> Self {
        Self {
            company,
            wishes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            last_told: 0,
            told: BTreeMap::new(),
            failures: false,
        }
    }

    /// Whether every job has ended.
    pub fn all_ended(&self) -> bool {
        self.jobs.values().all(|job| job.ended)
    }

    /// The ids of all jobs.
    pub fn job_ids(&self) -> Vec<String> {
        self.jobs.values().map(|job| text(&job.row[1])).collect()
    }

    /// Looks at what the last call did, does the same to the reference, and compares the two.
    pub async fn look(&mut self, db: &Db) -> Result<(), Wrong> {
        let now = json(db, &LOOK.replace("SEEN", &self.last_told.to_string())).await;
        for job in now["jobs"].as_array().expect("rows") {
            self.job(job, now["lanes"].as_array().expect("rows"))?;
        }
        if now["jobs"].as_array().expect("rows").len() != self.jobs.len() {
            return Err("a job is gone".to_owned());
        }
        let level = |row: &Value| {
            let number = |place: usize| row[place].as_i64().expect("a number");
            ((number(0), number(1)), number(2))
        };
        let grants: BTreeMap<(Id, Id), i64> =
            now["grants"].as_array().expect("rows").iter().map(level).collect();
        if grants != self.company.grants {
            return Err(format!("grants are {grants:?}, and should be {:?}", self.company.grants));
        }
        for event in now["told"].as_array().expect("rows") {
            self.last_told = event[0].as_i64().expect("an id").max(self.last_told);
            let body: Value = serde_json::from_str(&text(&event[1])).expect("an event");
            self.told.entry(text(&body["subject"])).or_default().insert(text(&event[1]));
        }
        Ok(())
    }

    fn job(&mut self, row: &Value, lanes: &[Value]) -> Result<(), Wrong> {
        let key = row[0].as_i64().expect("a key");
        let mut seen = self.jobs.get(&key).cloned().unwrap_or_default();
        if seen.ended {
            let same = seen.row == *row;
            return if same { Ok(()) } else { Err(format!("an ended job moved: {} to {row}", seen.row)) };
        }
        let asked = [&row[2], &row[1]].into_iter().find_map(|name| self.wishes.get(name.as_str()?));
        let wish = asked.cloned().ok_or_else(|| format!("nobody asked for {row}"))?;
        for lane in lanes.iter().filter(|lane| lane[0] == row[0]) {
            let (number, to) =
                (lane[1].as_i64().expect("a lane"), lane[2].as_u64().expect("a position") as usize);
            // There are two lanes, and each begins where the one before it ends.
            let start = if number == 0 { 0 } else { wish.secrets.len() / 2 };
            let from = *seen.positions.entry(number).or_insert(start);
            if to < from {
                return Err(format!("a lane went back: {lane}"));
            }
            let done = self.company.share(&wish, &wish.secrets[from..to]);
            add(&mut seen.counts, done);
            seen.positions.insert(number, to);
        }
        let (state, reason) = (text(&row[3]), text(&row[4]));
        seen.ended = terminal(&state);
        if seen.ended {
            self.end(row, &wish, &mut seen, &reason)?;
        }
        seen.row = row.clone();
        self.jobs.insert(key, seen);
        Ok(())
    }

    fn end(&mut self, row: &Value, wish: &Wish, seen: &mut Seen, reason: &str) -> Result<(), Wrong> {
        let pairs = (wish.secrets.len() * wish.recipients.len()) as i64;
        match reason {
            "requester_not_valid" if self.company.may_ask(wish.requester) => {
                return Err(format!("{row}: the requester may share"));
            }
            "attempts_exhausted" if !self.failures => return Err(format!("{row}: nothing failed")),
            "requester_not_valid" | "attempts_exhausted" => {}
            _ => {
                if seen.positions.is_empty() {
                    let done = self.company.share(wish, &wish.secrets);
                    add(&mut seen.counts, done);
                }
                let [granted, upgraded, unchanged, rejected] = seen.counts;
                let expected = match (granted + upgraded + unchanged, rejected) {
                    (0, _) => "failed",
                    (_, 0) => "completed",
                    _ => "completed_with_rejections",
                };
                if row[3] != expected || seen.counts.iter().sum::<i64>() != pairs {
                    return Err(format!("{row}: should be {expected} with {:?}", seen.counts));
                }
            }
        }
        if counts_of(&row[5]) != seen.counts || row[6] != pairs {
            return Err(format!("{row}: counts should be {:?}", seen.counts));
        }
        Ok(())
    }

    /// Checks what must hold when everything is quiet.
    pub async fn settled(&self, db: &Db) -> Result<(), Wrong> {
        for job in self.jobs.values() {
            let (id, key) = (text(&job.row[1]), job.row[0].as_i64().expect("a key"));
            if !job.ended {
                return Err(format!("lost: {}", job.row));
            }
            let notices = json(
                db,
                &format!(
                    "SELECT json_group_array(json_array(state, json_array(granted, upgraded, unchanged, rejected))) \
                     FROM notices WHERE job = {key}"
                ),
            )
            .await;
            if notices != serde_json::json!([[job.row[3], job.row[5]]]) {
                return Err(format!("{}: its notices are {notices}", job.row));
            }
            let told = self.told.get(&id).map_or(0, BTreeSet::len);
            if told != 1 {
                return Err(format!(
                    "{}: {told} different terminal events: {:?}",
                    job.row,
                    self.told.get(&id)
                ));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
