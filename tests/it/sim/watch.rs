//! Compares the database with the reference after every call that wrote.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::db::Db;
use serde_json::Value;

use super::company::{Company, Counts, Id, Wish};
use super::undos::Undo;

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
        CASE kind WHEN 'share' THEN json_array(granted, upgraded, unchanged, rejected) \
          ELSE json_array(COALESCE(revoked, 0), COALESCE(lowered, 0), COALESCE(kept + untouched, 0), rejected) END, \
        pairs, failures, kind, parent)) FROM (SELECT * FROM jobs ORDER BY id)), \
    'lanes', (SELECT json_group_array(json_array(job, lane, position, end_position)) \
        FROM (SELECT * FROM lanes ORDER BY job, lane)), \
    'grants', (SELECT json_group_array(json_array(secret_id, principal_id, permission)) FROM grants), \
    'told', (SELECT json_group_array(json_array(id, CAST(body AS TEXT))) FROM queue_messages \
        WHERE queue = 'notices' AND id > SEEN))";

/// A job as it was when it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub row: Value,
    pub ended: bool,
    pub wish: Option<Wish>,
    /// The position of each lane.
    positions: BTreeMap<i64, usize>,
    pub counts: Counts,
}

pub struct Watch {
    pub company: Company,
    /// The requests, by job id, or by the idempotency key of a request over HTTP.
    pub wishes: BTreeMap<String, Wish>,
    /// The jobs that are to be undone, by the id of the undo, or by the key of an order over HTTP.
    pub to_undo: BTreeMap<String, String>,
    /// The ids of the jobs that somebody has tried to cancel.
    pub to_cancel: BTreeSet<String>,
    pub jobs: BTreeMap<i64, Seen>,
    /// What the undos have done so far, by their keys.
    pub undos: BTreeMap<i64, Undo>,
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
    matches!(state, "completed" | "completed_with_rejections" | "failed" | "cancelled")
}

/// Who has what, as the database says.
pub type Grants = BTreeMap<(Id, Id), i64>;

impl Seen {
    pub fn id(&self) -> String {
        text(&self.row[1])
    }

    pub fn state(&self) -> String {
        text(&self.row[3])
    }

    pub fn kind(&self) -> String {
        text(&self.row[8])
    }
}

impl Watch {
    pub fn new(company: Company) -> Self {
        Self {
            company,
            wishes: BTreeMap::new(),
            to_undo: BTreeMap::new(),
            to_cancel: BTreeSet::new(),
            jobs: BTreeMap::new(),
            undos: BTreeMap::new(),
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
        self.jobs.values().map(Seen::id).collect()
    }

    /// The key of the job with this id.
    pub fn key_of(&self, id: &str) -> Option<i64> {
        self.jobs.iter().find_map(|(key, job)| (job.id() == id).then_some(*key))
    }

    /// Looks at what the last call did, does the same to the reference, and compares the two.
    pub async fn look(&mut self, db: &Db) -> Result<(), Wrong> {
        let now = json(db, &LOOK.replace("SEEN", &self.last_told.to_string())).await;
        let level = |row: &Value| {
            let number = |place: usize| row[place].as_i64().expect("a number");
            ((number(0), number(1)), number(2))
        };
        let grants: Grants = now["grants"].as_array().expect("rows").iter().map(level).collect();
        for job in now["jobs"].as_array().expect("rows") {
            self.job(job, now["lanes"].as_array().expect("rows"), &grants)?;
        }
        if now["jobs"].as_array().expect("rows").len() != self.jobs.len() {
            return Err("a job is gone".to_owned());
        }
        if grants != self.company.grants {
            return Err(format!("grants are {grants:?}, and should be {:?}", self.company.grants));
        }
        self.grants_are_within_bounds()?;
        for event in now["told"].as_array().expect("rows") {
            self.last_told = event[0].as_i64().expect("an id").max(self.last_told);
            let body: Value = serde_json::from_str(&text(&event[1])).expect("an event");
            self.told.entry(text(&body["subject"])).or_default().insert(text(&event[1]));
        }
        Ok(())
    }

    fn job(&mut self, row: &Value, lanes: &[Value], grants: &Grants) -> Result<(), Wrong> {
        let key = row[0].as_i64().expect("a key");
        let mut seen = self.jobs.get(&key).cloned().unwrap_or_default();
        let lanes: Vec<[i64; 3]> = lanes
            .iter()
            .filter(|lane| lane[0] == row[0])
            .map(|lane| [1, 2, 3].map(|place| lane[place].as_i64().expect("a number")))
            .collect();
        if seen.ended {
            let moved = lanes.iter().any(|[lane, to, _]| seen.positions.get(lane) != Some(&(*to as usize)));
            let same = seen.row == *row && !moved;
            return if same { Ok(()) } else { Err(format!("an ended job moved: {} to {row}", seen.row)) };
        }
        if seen.wish.is_none() {
            seen.wish = Some(self.wish_of(key, row)?);
        }
        let wish = seen.wish.clone().ok_or("no wish")?;
        let mut begins = 0;
        for [lane, to, end] in lanes {
            // Each lane begins where the one before it ends.
            let from = *seen.positions.entry(lane).or_insert(begins);
            let to = to as usize;
            begins = end as usize;
            if to < from {
                return Err(format!("lane {lane} of {row} went back"));
            }
            let secrets = &wish.secrets[from..to];
            let done = match row[8] == "undo" {
                true => self.undo_chunk(key, &wish, secrets, grants)?,
                false => self.company.apply(key, &wish, secrets),
            };
            add(&mut seen.counts, done);
            seen.positions.insert(lane, to);
        }
        let (state, reason) = (text(&row[3]), text(&row[4]));
        seen.ended = terminal(&state);
        if seen.ended {
            self.end(key, row, &wish, &mut seen, &reason)?;
        }
        seen.row = row.clone();
        self.jobs.insert(key, seen);
        Ok(())
    }

    /// What a job was asked to do, when it is seen for the first time.
    fn wish_of(&mut self, key: i64, row: &Value) -> Result<Wish, Wrong> {
        if row[8] == "undo" {
            return self.undo_begins(key, row);
        }
        let asked = [&row[2], &row[1]].into_iter().find_map(|name| self.wishes.get(name.as_str()?));
        let wish = asked.cloned().ok_or_else(|| format!("nobody asked for {row}"))?;
        let kind = if wish.takes { "unshare" } else { "share" };
        if row[8] == kind { Ok(wish) } else { Err(format!("{row} should be the job of the kind {kind}")) }
    }

    fn end(
        &mut self,
        key: i64,
        row: &Value,
        wish: &Wish,
        seen: &mut Seen,
        reason: &str,
    ) -> Result<(), Wrong> {
        let pairs = (wish.secrets.len() * wish.recipients.len()) as i64;
        let kind = text(&row[8]);
        match reason {
            "requester_not_valid" if self.company.may_ask(wish.requester) => {
                return Err(format!("{row}: the requester may act"));
            }
            "attempts_exhausted" if !self.failures => return Err(format!("{row}: nothing failed")),
            "requester_not_valid" | "attempts_exhausted" => {}
            _ if row[3] == "cancelled" => {
                if !self.to_cancel.contains(&text(&row[1])) {
                    return Err(format!("{row}: nobody cancelled it"));
                }
            }
            _ if self.undos.get(&key).is_some_and(|undo| undo.refused.is_some()) => {
                let refused = self.undos.get(&key).and_then(|undo| undo.refused);
                if Some(reason) != refused {
                    return Err(format!("{row}: should be refused: {refused:?}"));
                }
            }
            _ => {
                if seen.positions.is_empty() {
                    let done = self.company.apply(key, wish, &wish.secrets);
                    add(&mut seen.counts, done);
                }
                let [some, more, same, rejected] = seen.counts;
                let nothing = match kind.as_str() {
                    "share" => "nothing_to_share",
                    "undo" => "nothing_to_undo",
                    _ => "nothing_to_unshare",
                };
                let expected = match (some + more + same, rejected) {
                    (0, _) => ("failed", nothing),
                    (_, 0) => ("completed", ""),
                    _ => ("completed_with_rejections", ""),
                };
                if (row[3].as_str(), reason) != (Some(expected.0), expected.1)
                    || seen.counts.iter().sum::<i64>() != pairs
                {
                    return Err(format!("{row}: should be {expected:?} with {:?}", seen.counts));
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
        for (key, job) in &self.jobs {
            if !job.ended {
                return Err(format!("lost: {}", job.row));
            }
            let notices = format!(
                "SELECT json_group_array(json_array(n.state, {})) FROM notices n WHERE n.job = {key}",
                match job.kind().as_str() {
                    "share" => "json_array(granted, upgraded, unchanged, rejected)",
                    _ =>
                        "json_array(COALESCE(revoked, 0), COALESCE(lowered, 0), COALESCE(kept + untouched, 0), rejected)",
                }
            );
            let notices = json(db, &notices).await;
            if notices != serde_json::json!([[job.row[3], job.row[5]]]) {
                return Err(format!("{}: its notices are {notices}", job.row));
            }
            let told = self.told.get(&job.id());
            if told.map_or(0, BTreeSet::len) != 1 {
                return Err(format!("{}: different terminal events: {told:?}", job.row));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
