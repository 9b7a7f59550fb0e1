//! What a row of the audit tells, as a value for each kind.

use serde_json::{Value, json};

use crate::contract::rfc3339;
use crate::domain::{Actor, AuditAction, DeadReason, JobId, Permission, PrincipalId, SecretId};

/// One row of the audit. None has a value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A job was cancelled.
    JobCancelled { job: JobId, by: Actor },
    /// A job was undone by the job `undo`. Where it was `as_operator`, no right of a person was checked.
    JobUndone { job: JobId, undo: JobId, by: Actor, as_operator: bool },
    /// What a job left undone is shared by the job `rest`.
    RestShared { job: JobId, rest: JobId, by: Actor },
    /// A grant was taken back by hand.
    GrantRevoked {
        secret: SecretId,
        /// Whose grant it was.
        principal: PrincipalId,
        by: Actor,
        permission: Permission,
        /// When it was granted, in milliseconds since 1970.
        since: i64,
        /// The jobs that gave it, two at the most: that of the permission first, and that of the view below an edit.
        jobs: Vec<JobId>,
    },
    /// The client secret of a secret was given to somebody.
    SecretRead { secret: SecretId, by: Actor },
    /// A secret was changed.
    SecretChanged {
        secret: SecretId,
        by: Actor,
        /// The names of the fields that have another value now.
        fields: Vec<&'static str>,
        /// What `disabled` became, where it changed.
        disabled: Option<bool>,
    },
    /// Somebody could not sign in. `cause` and `address` tell of the first one: there is one row a minute and cause.
    SignInRefused { cause: String, address: String },
    /// A dead letter was sent on its way again.
    DeadLetterReplayed { letter: i64, reason: DeadReason, by: Actor, replay: Replay, trusted: bool },
    /// A dead letter was put aside for good.
    DeadLetterDiscarded { letter: i64, reason: DeadReason, job: Option<JobId>, by: Actor },
    /// A file was imported: how many lines of each kind.
    ImportDone { by: Actor, users: u64, user_groups: u64, personal_groups: u64, secrets: u64 },
}

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The job goes on as this run.
    Reopened { job: JobId, run: i32 },
    /// The message was sent again.
    Sent { job: Option<JobId> },
}

/// The columns of a row, other than its id and its time.
pub(in crate::store) struct Columns {
    pub(in crate::store) action: AuditAction,
    pub(in crate::store) actor: Actor,
    pub(in crate::store) secret: Option<SecretId>,
    pub(in crate::store) principal: Option<PrincipalId>,
    pub(in crate::store) job: Option<JobId>,
    pub(in crate::store) other_job: Option<JobId>,
    pub(in crate::store) detail: Value,
    /// Rows with the same cause are written once a minute.
    pub(in crate::store) cause: Option<String>,
}

impl Columns {
    fn new(action: AuditAction, actor: Actor, detail: Value) -> Self {
        Self { action, actor, secret: None, principal: None, job: None, other_job: None, detail, cause: None }
    }

    /// The columns of an entry.
    pub(in crate::store) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::JobCancelled { job, by } => {
                Self { job: Some(*job), ..Self::new(AuditAction::JobCancelled, *by, json!({})) }
            }
            Entry::JobUndone { job, undo, by, as_operator } => {
                let detail = json!({"as_operator": as_operator, "undo": undo});
                let new = Self::new(AuditAction::JobUndone, *by, detail);
                Self { job: Some(*job), other_job: Some(*undo), ..new }
            }
            Entry::RestShared { job, rest, by } => {
                let new = Self::new(AuditAction::RestShared, *by, json!({"rest": rest}));
                Self { job: Some(*job), other_job: Some(*rest), ..new }
            }
            Entry::GrantRevoked { secret, principal, by, permission, since, jobs } => {
                let detail = json!({"permission": permission.as_str(), "since": rfc3339(*since)});
                let mut jobs = jobs.iter().copied();
                Self {
                    secret: Some(*secret),
                    principal: Some(*principal),
                    job: jobs.next(),
                    other_job: jobs.next(),
                    ..Self::new(AuditAction::GrantRevoked, *by, detail)
                }
            }
            Entry::SecretRead { secret, by } => {
                Self { secret: Some(*secret), ..Self::new(AuditAction::SecretRead, *by, json!({})) }
            }
            Entry::SecretChanged { secret, by, fields, disabled } => {
                let action = match disabled {
                    None => AuditAction::SecretChanged,
                    Some(true) => AuditAction::SecretDisabled,
                    Some(false) => AuditAction::SecretEnabled,
                };
                Self { secret: Some(*secret), ..Self::new(action, *by, json!({"fields": fields})) }
            }
            Entry::SignInRefused { cause, address } => {
                let detail = json!({"address": address, "cause": cause});
                let new = Self::new(AuditAction::SignInRefused, Actor::Nobody, detail);
                Self { cause: Some(cause.clone()), ..new }
            }
            Entry::DeadLetterReplayed { letter, reason, by, replay, trusted } => {
                let (job, run) = match replay {
                    Replay::Reopened { job, run } => (Some(*job), Some(*run)),
                    Replay::Sent { job } => (*job, None),
                };
                let detail =
                    json!({"letter": letter, "reason": reason.as_str(), "run": run, "trusted": trusted});
                Self { job, ..Self::new(AuditAction::DeadLetterReplayed, *by, detail) }
            }
            Entry::DeadLetterDiscarded { letter, reason, job, by } => {
                let detail = json!({"letter": letter, "reason": reason.as_str()});
                Self { job: *job, ..Self::new(AuditAction::DeadLetterDiscarded, *by, detail) }
            }
            Entry::ImportDone { by, users, user_groups, personal_groups, secrets } => {
                let detail = json!({
                    "personal_groups": personal_groups, "secrets": secrets, "user_groups": user_groups, "users": users,
                });
                Self::new(AuditAction::ImportDone, *by, detail)
            }
        }
    }
}
