//! Random small companies and requests: as one chunk and through lanes, on the real databases, a job
//! does what a naive model says, pair by pair.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::contract::JobRequested;
use batchshare::domain::outcome::is_among;
use batchshare::domain::{
    AllFilter, Counts, FailReason, JobSnapshot, JobState, PairOutcome, Permission, PrincipalKind, Recipient,
    Selection,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::on_both_stores;
use crate::world::{World, counts, line, principal, secret, share_as};
use Permission::{Edit, View};

/// Each is one company and one request; a failure names its seed.
const SEEDS: std::ops::Range<u64> = 0..48;

#[derive(Debug, Clone)]
struct Person {
    active: bool,
    account: bool,
}

#[derive(Debug, Clone)]
struct Group {
    active: bool,
    /// Personal groups only.
    owner: Option<i64>,
    visible: bool,
    members: BTreeSet<i64>,
}

#[derive(Debug, Clone)]
struct Secret {
    owner: i64,
    disabled: bool,
}

/// What a grant is, with how many of the two jobs' columns are set.
type Grants = BTreeMap<(i64, i64), (Permission, usize)>;

#[derive(Debug, Clone)]
pub struct Scenario {
    /// Ids 1 to 6.
    people: BTreeMap<i64, Person>,
    /// User groups 10 to 12, personal groups 20 to 22.
    groups: BTreeMap<i64, Group>,
    secrets: BTreeMap<i64, Secret>,
    grants: Grants,
    /// Ids as asked, with duplicates and some that do not exist; `None` for "all".
    ids: Option<Vec<i64>>,
    recipients: Vec<Recipient>,
    chunk_pairs: u64,
}

pub const REQUESTER: i64 = 1;

fn kind_of(id: i64) -> PrincipalKind {
    match id {
        ..10 => PrincipalKind::User,
        10..20 => PrincipalKind::UserGroup,
        _ => PrincipalKind::PersonalGroup,
    }
}

/// One of a list.
fn one<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut people = BTreeMap::new();
        for id in 1..=6 {
            let sure = if id == REQUESTER { 0.95 } else { 0.8 };
            people.insert(id, Person { active: random.random_bool(sure), account: random.random_bool(sure) });
        }
        let mut groups = BTreeMap::new();
        for id in [10, 11, 12, 20, 21, 22] {
            let personal = id >= 20;
            groups.insert(
                id,
                Group {
                    active: random.random_bool(0.8),
                    owner: personal.then(|| random.random_range(1..=3)),
                    visible: personal && random.random_bool(0.5),
                    members: (1..=6).filter(|_| random.random_bool(0.4)).collect(),
                },
            );
        }
        let holders: Vec<i64> = people.keys().chain(groups.keys()).copied().collect();
        let mut secrets = BTreeMap::new();
        let mut grants = Grants::new();
        for id in 101..=100 + random.random_range(1..=12) {
            let owner = one(random, &[1, 1, 1, 2, 3]);
            secrets.insert(id, Secret { owner, disabled: random.random_bool(0.15) });
            for _ in 0..random.random_range(0..4) {
                grants.insert((id, one(random, &holders)), (one(random, &[View, Edit]), 0));
            }
        }
        let ids = random.random_bool(0.8).then(|| {
            let asked = random.random_range(1..=15);
            (0..asked).map(|_| random.random_range(101..=100 + secrets.len() as i64 + 1)).collect()
        });
        let recipients = (0..random.random_range(1..=6))
            .map(|_| {
                // Nobody has the id 99, and sometimes the kind is not that of the id.
                let id = if random.random_bool(0.05) { 99 } else { one(random, &holders) };
                let kind =
                    if random.random_bool(0.1) { one(random, PrincipalKind::ALL) } else { kind_of(id) };
                Recipient { kind, id: principal(id), permission: one(random, &[View, Edit]) }
            })
            .collect();
        let chunk_pairs = random.random_range(1..=6);
        Self { people, groups, secrets, grants, ids, recipients, chunk_pairs }
    }

    fn asked(&self) -> JobRequested {
        self.asked_by(REQUESTER)
    }

    pub fn asked_by(&self, requester: i64) -> JobRequested {
        self.asked_in(requester, 0)
    }

    /// What the requester of this company asks for if all ids are by so much higher.
    pub fn asked_in(&self, requester: i64, shift: i64) -> JobRequested {
        let selection = match &self.ids {
            Some(ids) => Selection::Ids(ids.iter().map(|id| secret(shift + *id)).collect()),
            None => Selection::All(AllFilter::default()),
        };
        let mut recipients = self.recipients.clone();
        recipients.iter_mut().for_each(|of| of.id = principal(shift + of.id.get()));
        share_as(shift + requester, selection, recipients)
    }

    /// Puts the company into a database, in place of the one that was there.
    pub async fn write(&self, world: &World) {
        world.test.sql(&(EMPTY.to_owned() + &self.sql(0))).await;
    }

    /// The rows of the company, with ids that are by so much higher.
    pub fn sql(&self, shift: i64) -> String {
        let mut sql = String::new();
        for (id, Person { active, account }) in &self.people {
            let id = id + shift;
            sql.push_str(&format!(
                "INSERT INTO principals (id, kind, name, active, username, email, has_account, visible_to_members, search_text) \
                 VALUES ({id}, 1, 'u', {active}, 'u{id}', '', {account}, false, '');"
            ));
        }
        for (id, group) in &self.groups {
            let kind = kind_of(*id).code();
            let id = id + shift;
            let owner = group.owner.map_or("NULL".to_owned(), |owner| (shift + owner).to_string());
            let Group { active, visible, .. } = group;
            sql.push_str(&format!(
                "INSERT INTO principals (id, kind, name, active, has_account, owner_id, visible_to_members, search_text) \
                 VALUES ({id}, {kind}, 'g', {active}, false, {owner}, {visible}, '');"
            ));
            for member in group.members.iter().map(|member| shift + member) {
                sql.push_str(&format!("INSERT INTO members (group_id, user_id) VALUES ({id}, {member});"));
            }
        }
        for (id, Secret { owner, disabled }) in &self.secrets {
            let (id, owner) = (id + shift, owner + shift);
            sql.push_str(&format!(
                "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
                 VALUES ({id}, {owner}, 's', 'u', 'c', 'GET', '', {disabled}, '', 0);"
            ));
        }
        for ((secret, holder), (permission, _)) in &self.grants {
            let (secret, holder) = (secret + shift, holder + shift);
            let code = permission.code();
            sql.push_str(&format!(
                "INSERT INTO grants (secret_id, principal_id, permission, granted_at) VALUES ({secret}, {holder}, {code}, 0);"
            ));
        }
        sql
    }
}

/// Takes all companies out of a database.
pub const EMPTY: &str =
    "DELETE FROM principals; DELETE FROM members; DELETE FROM secrets; DELETE FROM grants;";

/// What a job did, in words that two jobs can be compared by.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    state: Option<(JobState, Option<FailReason>)>,
    pairs: Option<u64>,
    counts: Counts,
    /// Kind, id, reason, pairs.
    rejections: Vec<(&'static str, i64, &'static str, u64)>,
    /// Secret, principal, permission, how many of view_job and edit_job are set.
    grants: Vec<String>,
    /// What became of each pair, secret by secret.
    told: Vec<PairOutcome>,
    /// The secrets of which pairs were there already, and the places of their recipients.
    claims: Vec<(i64, Vec<usize>)>,
}

/// The rules of design.md, section 4, a pair at a time and without a thought for speed.
mod model {
    use super::*;

    impl Scenario {
        fn access(&self, id: i64) -> Option<Permission> {
            let mine = |holder: i64| {
                holder == REQUESTER
                    || self.groups.get(&holder).is_some_and(|g| g.active && g.members.contains(&REQUESTER))
            };
            let own = self.secrets.get(&id).filter(|secret| secret.owner == REQUESTER).map(|_| Edit);
            let through = self.grants.iter().filter(|((of, holder), _)| *of == id && mine(*holder));
            own.max(through.map(|(_, (permission, _))| *permission).max())
        }

        fn secret_reason(&self, id: i64) -> Option<&'static str> {
            let Some(secret) = self.secrets.get(&id) else { return Some("not_found") };
            match self.access(id) {
                None => Some("not_found"),
                Some(View) => Some("not_allowed"),
                Some(Edit) => secret.disabled.then_some("disabled"),
            }
        }

        fn recipient_reason(&self, kind: PrincipalKind, id: i64) -> Option<&'static str> {
            if let (PrincipalKind::User, Some(person)) = (kind, self.people.get(&id)) {
                return match person {
                    Person { active: false, .. } => Some("inactive"),
                    Person { account: false, .. } => Some("no_account"),
                    Person { .. } => None,
                };
            }
            let Some(group) = self.groups.get(&id).filter(|_| kind == kind_of(id)) else {
                return Some("not_found");
            };
            let seen = group.owner.is_none()
                || group.owner == Some(REQUESTER)
                || (group.visible && group.members.contains(&REQUESTER));
            match (seen, group.active) {
                (false, _) => Some("not_found"),
                (true, false) => Some("inactive"),
                (true, true) => None,
            }
        }

        /// What is asked for: each secret once, each recipient once with the higher permission.
        fn pairs(&self) -> (BTreeSet<i64>, BTreeMap<(PrincipalKind, i64), Permission>) {
            let secrets = match &self.ids {
                Some(ids) => ids.iter().copied().collect(),
                None => self.secrets.keys().copied().filter(|id| self.access(*id) == Some(Edit)).collect(),
            };
            let mut recipients = BTreeMap::new();
            for of in &self.recipients {
                let kept = recipients.entry((of.kind, of.id.get())).or_insert(View);
                *kept = of.permission.max(*kept);
            }
            (secrets, recipients)
        }

        /// The people who would have access: those who are named, those who are members of groups that are, and all of
        /// them.
        pub fn people(&self) -> (usize, usize, usize) {
            let acts = |id: &i64| self.people[id].active && self.people[id].account;
            let (secrets, recipients) = self.pairs();
            let any = secrets.iter().any(|id| self.secret_reason(*id).is_none());
            let reached =
                |(kind, id): &(PrincipalKind, i64)| any && self.recipient_reason(*kind, *id).is_none();
            let ids = recipients.into_keys().filter(reached).map(|(_, id)| id);
            let (direct, groups): (BTreeSet<i64>, BTreeSet<i64>) =
                ids.partition(|id| self.people.contains_key(id));
            let members = groups.iter().flat_map(|id| &self.groups[id].members).copied().filter(acts);
            let through: BTreeSet<i64> = members.collect();
            (direct.len(), through.len(), direct.union(&through).count())
        }

        pub(super) fn outcome(&self) -> Outcome {
            let mut grants = self.grants.clone();
            let (secrets, recipients) = self.pairs();
            let mut outcome =
                Outcome { pairs: Some(secrets.len() as u64 * recipients.len() as u64), ..Outcome::default() };
            let requester = &self.people[&REQUESTER];
            if !requester.active || !requester.account {
                outcome.pairs = outcome.pairs.filter(|_| self.ids.is_some());
                outcome.state = Some((JobState::Failed, Some(FailReason::RequesterNotValid)));
                outcome.grants = shown(&grants);
                return outcome;
            }
            let mut lines: BTreeMap<(u8, Option<PrincipalKind>, i64), (&'static str, u64)> = BTreeMap::new();
            for &id in &secrets {
                let mut claimed = Vec::new();
                for (place, (&(kind, holder), &permission)) in recipients.iter().enumerate() {
                    let (of_secret, of_recipient) =
                        (self.secret_reason(id), self.recipient_reason(kind, holder));
                    if let Some(reason) = of_recipient {
                        let line = lines.entry((1, Some(kind), holder)).or_insert((reason, 0));
                        line.1 += u64::from(of_secret.is_none());
                    }
                    if let Some(reason) = of_secret {
                        lines.entry((0, None, id)).or_insert((reason, 0)).1 += 1;
                    }
                    let done = match (of_secret.or(of_recipient), grants.get(&(id, holder))) {
                        (Some(_), _) => counts(0, 0, 0, 1),
                        _ if kind == PrincipalKind::User && self.secrets[&id].owner == holder => {
                            counts(0, 0, 1, 0)
                        }
                        (None, None) => {
                            grants.insert((id, holder), (permission, 1));
                            counts(1, 0, 0, 0)
                        }
                        (None, Some((View, _))) if permission == Edit => {
                            grants.insert((id, holder), (Edit, 2));
                            counts(0, 1, 0, 0)
                        }
                        (None, Some(_)) => {
                            claimed.push(place);
                            counts(0, 0, 1, 0)
                        }
                    };
                    outcome.counts = outcome.counts + done;
                    outcome.told.extend(done.only());
                }
                if !claimed.is_empty() {
                    outcome.claims.push((id, claimed));
                }
            }
            outcome.state = Some(if outcome.counts.shared() == 0 {
                (JobState::Failed, Some(FailReason::NothingToShare))
            } else if outcome.counts.rejected > 0 {
                (JobState::CompletedWithRejections, None)
            } else {
                (JobState::Completed, None)
            });
            outcome.rejections = lines
                .into_iter()
                .map(|((_, kind, id), (reason, pairs))| {
                    (kind.map_or("secret", PrincipalKind::as_str), id, reason, pairs)
                })
                .collect();
            outcome.grants = shown(&grants);
            outcome
        }
    }

    fn shown(grants: &Grants) -> Vec<String> {
        let row = |((secret, holder), (permission, jobs)): (&(i64, i64), &(Permission, usize))| {
            format!("{secret} {holder} {} {jobs}", permission.code())
        };
        grants.iter().map(row).collect()
    }
}

/// Runs the scenario to its end and reads what became of it.
async fn run(world: &World, scenario: &Scenario, asked: &JobRequested) -> Outcome {
    scenario.write(world).await;
    let job: JobSnapshot = world.run(asked).await;
    assert_eq!(job.rejections.len() as u64, job.rejections_total, "fewer than 100 lines");
    assert_eq!(world.store.unsent().await.expect("outbox"), 0);
    let grants = world
        .test
        .texts(
            "SELECT secret_id || ' ' || principal_id || ' ' || permission || ' ' || \
             (CASE WHEN view_job IS NULL THEN 0 ELSE 1 END + CASE WHEN edit_job IS NULL THEN 0 ELSE 1 END) AS t \
             FROM grants ORDER BY secret_id, principal_id",
        )
        .await;
    Outcome {
        state: Some((job.state, job.reason)),
        pairs: job.pairs,
        counts: job.counts,
        rejections: job.rejections.iter().map(line).collect(),
        grants,
        told: told(world, &job).await,
        claims: claims(world, &job).await,
    }
}

/// What became of each pair of a job that has ended, read in parts of a few secrets.
pub async fn told(world: &World, job: &JobSnapshot) -> Vec<PairOutcome> {
    let mut told = Vec::new();
    for from in (0..usize::try_from(job.secrets.unwrap_or(0)).expect("a number")).step_by(5) {
        let part =
            world.store.outcomes(job.job_id, from, from + 5).await.expect("outcomes").expect("recorded");
        told.extend(part);
    }
    let done = usize::try_from(job.counts.done()).expect("a number");
    assert_eq!(told.iter().flatten().count(), done, "the pairs that the job has come to");
    told.into_iter().flatten().collect()
}

/// What a job claims: each secret with the places of its recipients.
pub async fn claims(world: &World, job: &JobSnapshot) -> Vec<(i64, Vec<usize>)> {
    let hex = if world.test.url.starts_with("postgres") { "encode(among, 'hex')" } else { "hex(among)" };
    let sql = format!(
        "SELECT secret_id || ' ' || CASE WHEN among IS NULL THEN '-' ELSE {hex} END AS t FROM claims \
         WHERE job = (SELECT id FROM jobs WHERE job_id = '{}') ORDER BY secret_id",
        job.job_id
    );
    let claim = |text: String| {
        let (secret, among) = text.split_once(' ').expect("two");
        let digits = |place: usize| u8::from_str_radix(&among[place..place + 2], 16).expect("hex");
        let among = (among != "-").then(|| (0..among.len()).step_by(2).map(digits).collect::<Vec<u8>>());
        let recipients = 0..usize::try_from(job.recipients.unwrap_or(0)).expect("a number");
        let places = recipients.filter(|place| is_among(among.as_deref(), *place)).collect();
        (secret.parse().expect("an id"), places)
    };
    world.test.texts(&sql).await.into_iter().map(claim).collect()
}

on_both_stores! {
    async fn a_job_does_what_the_model_says_in_one_chunk_and_in_lanes(kind: Kind) {
        let one_chunk = World::empty(kind).await;
        let mut in_lanes = World::empty(kind).await;
        let mut ended = BTreeSet::new();
        for seed in SEEDS {
            let scenario = Scenario::new(seed);
            let expected = scenario.outcome();
            in_lanes.set_chunks(scenario.chunk_pairs);
            let asked = scenario.asked();
            let found = run(&one_chunk, &scenario, &asked).await;
            assert_eq!(found, expected, "one chunk, seed {seed}: {scenario:#?}");
            let found = run(&in_lanes, &scenario, &asked).await;
            assert_eq!(found, expected, "lanes, seed {seed}: {scenario:#?}");
            ended.insert(expected.state.map(|(state, _)| state.as_str()));
        }
        assert_eq!(ended.len(), 3, "the seeds reach every end: {ended:?}");
        assert!(in_lanes.test.number("SELECT COUNT(DISTINCT job) FROM lanes").await > 20, "most went through lanes");
    }
}
