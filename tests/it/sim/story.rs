//! What happens in one run. The seed decides who requests what, what the world does meanwhile, and what goes wrong.
//! Then everything calms down, and every job must come to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use batchshare::broker::Queue;
use batchshare::contract;
use batchshare::domain::{JobId, Permission, PrincipalKind, Recipient, Selection, ShareRequest};
use batchshare::store::Submission;

use super::company::{GROUPS, Id, REQUESTERS, SECRETS, USERS, Wish};
use super::gate::Pass;
use super::site::{Mistake, Options, Site};
use super::watch::{Wrong, json};
use crate::world::{principal, secret};

/// Random numbers by SplitMix64. A seed gives the same numbers on every machine, and with every version of our crates.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `below` - 1.
    pub(super) fn roll(&mut self, below: usize) -> usize {
        (self.next() % below as u64) as usize
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.roll(100) < chance
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// The number of calls and events before everything calms down.
const STEPS: usize = 250;
/// The number of rounds after which everything must be quiet. A round is a minute, and some jobs wait for retries and
/// leases.
const ROUNDS: usize = 80;

pub struct Story {
    pub(super) dice: Dice,
    pub(super) site: Site,
    /// The number of jobs that are still to be requested.
    jobs: usize,
    /// The number of cancels, undos and unshares that are still to be ordered.
    pub(super) orders: usize,
    /// The bodies of the orders that came by message, with the ids of the undos among them.
    pub(super) ordered: BTreeMap<String, Option<String>>,
    /// The bodies of orders about jobs of others, and about jobs that never come.
    pub(super) strange: BTreeSet<String>,
    /// Bodies that are not requests, and bodies whose id was used for another request.
    poison: BTreeSet<String>,
    conflicts: BTreeSet<String>,
    pub(super) asked: Vec<(JobId, Wish)>,
    /// In a bad time, requests and steps fail as often as they are tried in place, so that the failure is recorded.
    bad_time: bool,
}

/// Runs a seed. The error says what went wrong.
pub async fn run(seed: u64, path: &std::path::Path, mistake: Option<Mistake>) -> Result<(), Wrong> {
    let mut dice = Dice::new(seed);
    // Without due work, redelivery alone must be enough. Mistakes are looked for without it, since it repairs much.
    let due_work = mistake.is_none() && dice.percent(60);
    let retries = 1 + dice.roll(4);
    let options = Options { due_work, long_slices: dice.percent(50), retries, mistake };
    let processes = 1 + dice.roll(3);
    let (jobs, orders) = (2 + dice.roll(4), dice.roll(7));
    let site = Site::new(path, processes, options);
    let mut story = Story {
        dice,
        site,
        jobs,
        orders,
        ordered: BTreeMap::new(),
        strange: BTreeSet::new(),
        poison: BTreeSet::new(),
        conflicts: BTreeSet::new(),
        asked: Vec::new(),
        bad_time: due_work && seed.is_multiple_of(3),
    };
    story.site.watch.failures = due_work;
    for _ in 0..STEPS {
        story.step().await?;
    }
    story.calm_down().await
}

impl Story {
    async fn step(&mut self) -> Result<(), Wrong> {
        let process = self.dice.roll(self.site.processes());
        match self.dice.roll(100) {
            0..50 if self.site.tasks() > 0 => {
                let task = self.dice.roll(self.site.tasks());
                let pass = self.pass(task);
                self.site.go_on(task, pass).await
            }
            0..72 => {
                let ready = self.site.ready().await;
                if ready.is_empty() {
                    return self.site.relay(process, self.dice.percent(30)).await;
                }
                let message = &ready[self.dice.roll(ready.len())];
                // Requests, and events of ends, are handled together if there are several.
                let mut taken = vec![message];
                if matches!(message.queue, Queue::Jobs | Queue::Notices) && self.dice.percent(60) {
                    let others = ready.iter().filter(|of| of.queue == message.queue && of.row != message.row);
                    taken.extend(others.take(1 + self.dice.roll(4)));
                }
                self.site.take(process, &taken).await
            }
            72..79 => self.site.relay(process, self.dice.percent(30)).await,
            79..82 if self.site.options.due_work => self.site.due(process).await,
            82..86 if self.jobs > 0 && (self.orders == 0 || self.dice.percent(50)) => {
                self.jobs -= 1;
                self.ask(process).await
            }
            82..86 if self.orders > 0 => {
                self.orders -= 1;
                self.order(process).await
            }
            86..89 => {
                let some: &[u64] = if self.bad_time { &[6, 40, 130, 610] } else { &[1, 6, 25, 40] };
                let seconds = self.dice.pick(some);
                self.site.db.clock().advance(Duration::from_secs(seconds));
                Ok(())
            }
            89..93 => self.world().await,
            93..97 => self.queue().await,
            97 => {
                self.site.crash(process).await;
                Ok(())
            }
            98 if self.dice.percent(30) => {
                self.site.power_cut().await;
                Ok(())
            }
            98.. if self.site.options.due_work => {
                self.bad_time = !self.bad_time;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Decides how a task's next call goes.
    fn pass(&mut self, task: usize) -> Pass {
        // A failure that is recorded is tried again only by due work.
        let transient = if self.site.options.due_work { Pass::Transient } else { Pass::Outage };
        if self.bad_time && self.site.fails_now(task) {
            return transient;
        }
        match self.dice.roll(100) {
            0..3 => transient,
            94..96 => Pass::Outage,
            96.. => Pass::AnswerLost,
            _ => Pass::Go,
        }
    }

    pub(super) fn wish(&mut self) -> Wish {
        let mut secrets = BTreeSet::new();
        // Some requests are large and some are small. One of their secrets may not exist.
        let requester = self.dice.pick(&REQUESTERS);
        for _ in 0..self.dice.pick(&[1, 2, 8, 10]) {
            let any = SECRETS.start() + self.dice.roll(13) as Id;
            // Most secrets belong to the requester.
            let own = any + (1 + any % 2 - requester).abs();
            secrets.insert(if self.dice.percent(85) { own } else { any });
        }
        let mut recipients = std::collections::BTreeMap::new();
        for _ in 0..self.dice.pick(&[1, 2, 3]) {
            let all: Vec<Id> = USERS.chain(GROUPS).collect();
            recipients.insert(self.dice.pick(&all), 1 + self.dice.roll(2) as i64);
        }
        Wish {
            requester,
            secrets: secrets.into_iter().collect(),
            recipients: recipients.into_iter().collect(),
            takes: false,
        }
    }

    /// A job is requested over HTTP or by message.
    pub(super) async fn request(&mut self, process: usize, wish: Wish, http: bool) -> Result<(), Wrong> {
        if http {
            let key = format!("job {}", self.site.watch.wishes.len());
            self.site.watch.wishes.insert(key.clone(), wish.clone());
            let idempotency_key = Some(key);
            let submission = Submission { request: request(&wish), idempotency_key, traceparent: None };
            return self.site.submit(process, submission).await;
        }
        let job = JobId::generate();
        self.site.watch.wishes.insert(job.to_string(), wish.clone());
        self.site.publish(body(job, &wish)).await;
        self.asked.push((job, wish));
        Ok(())
    }

    /// A job is requested, or something is published that makes no job.
    async fn ask(&mut self, process: usize) -> Result<(), Wrong> {
        let wish = self.wish();
        match self.dice.roll(10) {
            0..4 => self.request(process, wish, true).await,
            4..9 => self.request(process, wish, false).await,
            _ => {
                let text = format!("poison {}", self.poison.len());
                self.poison.insert(text.clone());
                self.site.publish(text.into_bytes()).await;
                Ok(())
            }
        }
    }

    /// Rights change, a grant is taken back, or one is given by hand.
    async fn world(&mut self) -> Result<(), Wrong> {
        let company = &mut self.site.watch.company;
        let people: Vec<Id> = company.principals.keys().copied().collect();
        let sql = match self.dice.roll(8) {
            0..3 if !company.grants.is_empty() => {
                let all: Vec<(Id, Id)> = company.grants.keys().copied().collect();
                let (secret, principal) = self.dice.pick(&all);
                company.take((secret, principal));
                format!("DELETE FROM grants WHERE secret_id = {secret} AND principal_id = {principal}")
            }
            3 => {
                let secret = self.dice.pick(&[101, 102, 103, 104]);
                if company.grants.contains_key(&(secret, 5)) {
                    return Ok(());
                }
                company.give((secret, 5), 2);
                format!(
                    "INSERT INTO grants (secret_id, principal_id, permission, granted_at) VALUES ({secret}, 5, 2, now_us())"
                )
            }
            4 => {
                let id = self.dice.pick(&SECRETS.collect::<Vec<Id>>());
                let Some(secret) = company.secrets.get_mut(&id) else { return Ok(()) };
                secret.disabled = !secret.disabled;
                format!("UPDATE secrets SET disabled = {} WHERE id = {id}", secret.disabled)
            }
            5 => {
                let group = self.dice.pick(&GROUPS);
                let user = self.dice.pick(&REQUESTERS);
                let Some(found) = company.principals.get_mut(&group) else { return Ok(()) };
                if found.members.remove(&user) {
                    format!("DELETE FROM members WHERE group_id = {group} AND user_id = {user}")
                } else {
                    found.members.insert(user);
                    format!("INSERT INTO members (group_id, user_id) VALUES ({group}, {user})")
                }
            }
            _ => {
                let id = self.dice.pick(&people);
                let rarely = !REQUESTERS.contains(&id) || self.dice.percent(20);
                let Some(person) = company.principals.get_mut(&id).filter(|_| rarely) else { return Ok(()) };
                person.active = !person.active;
                format!("UPDATE principals SET active = {} WHERE id = {id}", person.active)
            }
        };
        self.site.sql(sql).await;
        self.site.watch.look(&self.site.db).await
    }

    /// The broker duplicates or delays a message, redelivers one that somebody works on, or loses one that due work
    /// replaces. Or somebody uses the id of a job for another request.
    async fn queue(&mut self) -> Result<(), Wrong> {
        let all = json(
            &self.site.db,
            "SELECT json_group_array(json_array(id, queue, holder, CAST(body AS TEXT))) FROM queue_messages",
        )
        .await;
        let Some(rows) = all.as_array().filter(|rows| !rows.is_empty()) else { return Ok(()) };
        let row = &rows[self.dice.roll(rows.len())];
        let (id, queue) = (&row[0], row[1].as_str().unwrap_or_default());
        let now = self.site.db.clock().now_ms();
        match self.dice.roll(10) {
            0..4 => {
                let columns = "queue, exchange, routing_key, message_id, type, traceparent, headers, body";
                self.site
                    .sql(format!(
                        "INSERT INTO queue_messages ({columns}, visible_at, holder, deliveries) \
                     SELECT {columns}, {now}, NULL, 0 FROM queue_messages WHERE id = {id}"
                    ))
                    .await;
            }
            4..6 => self
                .site
                .sql(format!(
                    "UPDATE queue_messages SET visible_at = {now} + 7000 WHERE id = {id} AND holder IS NULL"
                ))
                .await,
            // This happens only with due work. If a second delivery is acknowledged and then the worker of the first
            // one dies, only due work finds the job.
            6..8 if self.site.options.due_work => {
                self.site
                    .sql(format!("UPDATE queue_messages SET holder = NULL, visible_at = 0 WHERE id = {id}"))
                    .await;
            }
            8 if self.site.options.due_work && queue != Queue::Dead.suffix() => {
                let body: serde_json::Value =
                    serde_json::from_str(row[3].as_str().unwrap_or_default()).unwrap_or_default();
                let known = self.site.watch.job_ids().iter().any(|job| body["id"] == **job);
                if queue != Queue::Jobs.suffix()
                    || known && !self.conflicts.contains(row[3].as_str().unwrap_or_default())
                {
                    self.site.sql(format!("DELETE FROM queue_messages WHERE id = {id}")).await;
                }
            }
            9 => {
                let known = self.site.watch.job_ids();
                let of_known = |(job, wish): &&(JobId, Wish)| !wish.takes && known.contains(&job.to_string());
                if let Some((job, wish)) = self.asked.iter().find(of_known) {
                    let mut other = wish.clone();
                    other.recipients = vec![(3, 2), (4, 2), (5, 2), (10, 1)];
                    let body = body(*job, &other);
                    self.conflicts.insert(String::from_utf8(body.clone()).expect("JSON"));
                    self.site.publish(body).await;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing goes wrong any more, so everything must soon have ended.
    async fn calm_down(mut self) -> Result<(), Wrong> {
        for _ in 0..ROUNDS {
            self.site.finish_all().await?;
            // By now there are jobs that have ended, and that can be undone.
            if self.orders > 0 {
                self.orders -= 1;
                self.order(0).await?;
                self.site.finish_all().await?;
            }
            for process in 0..self.site.processes() {
                self.site.relay(process, false).await?;
                self.site.relay(process, true).await?;
                if self.site.options.due_work {
                    self.site.due(process).await?;
                }
            }
            self.site.finish_all().await?;
            for message in self.site.ready().await {
                self.site.take(0, &[&message]).await?;
                self.site.finish_all().await?;
            }
            let left = self
                .site
                .number("(SELECT COUNT(*) FROM outbox) + (SELECT COUNT(*) FROM queue_messages)")
                .await
                + self.waiting_orders().await;
            if left + self.orders as i64 == 0
                && self.site.watch.all_ended()
                && self.site.number("SELECT COUNT(*) FROM jobs WHERE notice_due").await == 0
            {
                return self.check().await;
            }
            self.site.db.clock().advance(Duration::from_secs(61));
        }
        let left = json(
            &self.site.db,
            "SELECT json_array((SELECT COUNT(*) FROM outbox), (SELECT COUNT(*) FROM queue_messages))",
        )
        .await;
        self.site.watch.settled(&self.site.db).await?;
        Err(format!("not quiet: {left}"))
    }

    async fn check(&self) -> Result<(), Wrong> {
        self.site.watch.settled(&self.site.db).await?;
        let jobs = self.site.watch.job_ids();
        if let Some((lost, _)) = self.asked.iter().find(|(job, _)| !jobs.contains(&job.to_string())) {
            return Err(format!("job {lost} never was"));
        }
        let letters = |reason: &'static str| async move {
            let all = json(
                &self.site.db,
                &format!("SELECT json_group_array(DISTINCT CAST(body AS TEXT)) FROM dead_letters WHERE reason = '{reason}'"),
            ).await;
            serde_json::from_value::<BTreeSet<String>>(all).expect("texts")
        };
        let (not_json, conflicts) = (letters("not_json").await, letters("id_conflict").await);
        if not_json != self.poison || conflicts != self.conflicts {
            return Err(format!("dead letters: {not_json:?} and {conflicts:?}"));
        }
        let (unknown, exhausted) = (letters("unknown_job").await, letters("attempts_exhausted").await);
        if unknown != self.strange {
            return Err(format!("dead letters: {unknown:?}, and should be {:?}", self.strange));
        }
        // An order that waited for as long as it may, and whose last attempt has failed.
        let died: BTreeSet<&String> =
            exhausted.iter().filter(|body| self.ordered.contains_key(*body)).collect();
        let lives = |(body, _): &(&String, &Option<String>)| !died.contains(body);
        let mut undos = self.ordered.iter().filter(lives).filter_map(|(_, undo)| undo.as_ref());
        if let Some(lost) = undos.find(|undo| !jobs.contains(undo)) {
            return Err(format!("undo {lost} never was"));
        }
        let exhausted = "SELECT (SELECT COUNT(*) FROM jobs WHERE reason = 'attempts_exhausted') - \
                         (SELECT COUNT(*) FROM dead_letters WHERE reason NOT IN ('not_json', 'id_conflict', 'unknown_job'))";
        match self.site.number(exhausted).await + died.len() as i64 {
            0 => Ok(()),
            _ => Err("a dead letter for each job whose attempts ran out, and no others".to_owned()),
        }
    }
}

fn request(wish: &Wish) -> ShareRequest {
    let recipients = wish.recipients.iter().map(|(id, level)| Recipient {
        kind: if GROUPS.contains(id) { PrincipalKind::UserGroup } else { PrincipalKind::User },
        id: principal(*id),
        permission: if *level == 2 { Permission::Edit } else { Permission::View },
    });
    let recipients: Vec<Recipient> = recipients.collect();
    let secrets = Selection::Ids(wish.secrets.iter().map(|id| secret(*id)).collect());
    let requester = principal(wish.requester);
    match wish.takes {
        true => ShareRequest::taking(requester, secrets, recipients),
        false => ShareRequest::new(requester, secrets, recipients),
    }
}

fn body(job: JobId, wish: &Wish) -> Vec<u8> {
    contract::encode_request(job, &request(wish), &contract::new_traceparent(), 0)
}
