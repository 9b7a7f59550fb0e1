//! Reads what jobs are called: their first recipients and secrets, with the names that the reader may know.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use serde_json::{Value, json};

use crate::contract::{TITLE_CHARS, first_recipients, first_secrets};
use crate::db::{Conn, DbError, statement};
use crate::domain::title::{FirstRecipient, FirstSecret, Title};
use crate::domain::{JobId, PrincipalId, PrincipalKind, Recipient, SecretId};
use crate::store::transact::Store;

/// The ids in a job's title.
struct Ids {
    job: JobId,
    recipients: Vec<Recipient>,
    secrets: Vec<SecretId>,
}

impl Store {
    /// The titles of these jobs, by their ids. Unknown jobs are left out. An operator (`reader` is `None`) reads all
    /// names. The number of queries does not grow with the jobs, and of a long list only its beginning is read.
    pub async fn titles(
        &self,
        reader: Option<PrincipalId>,
        jobs: Vec<JobId>,
    ) -> Result<HashMap<JobId, Title>, DbError> {
        if jobs.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = self.db.read(move |conn| read(conn, &jobs)).await?;
        let secrets = ids.iter().flat_map(|ids| ids.secrets.iter().copied()).collect();
        let secrets = self.named_secrets(reader, secrets).await?;
        let recipients = ids.iter().flat_map(|ids| ids.recipients.iter().map(|of| of.id)).collect();
        let recipients = self.named_principals(reader, recipients).await?;
        let name = |of: Recipient| {
            recipients.get(&of.id).filter(|(kind, _)| *kind == of.kind).map(|(_, name)| name.clone())
        };
        let title = |ids: &Ids| Title {
            recipients: ids
                .recipients
                .iter()
                .map(|&of| FirstRecipient { id: of.id, kind: of.kind, name: name(of) })
                .collect(),
            secrets: ids
                .secrets
                .iter()
                .map(|&id| FirstSecret { id, name: secrets.get(&id).cloned() })
                .collect(),
        };
        Ok(ids.iter().map(|ids| (ids.job, title(ids))).collect())
    }

    async fn named_secrets(
        &self,
        reader: Option<PrincipalId>,
        ids: Vec<SecretId>,
    ) -> Result<HashMap<SecretId, String>, DbError> {
        match reader {
            _ if ids.is_empty() => Ok(HashMap::new()),
            Some(reader) => self.secret_names_seen_by(reader, ids).await,
            None => self.secret_names(ids).await,
        }
    }

    async fn named_principals(
        &self,
        reader: Option<PrincipalId>,
        ids: Vec<PrincipalId>,
    ) -> Result<HashMap<PrincipalId, (PrincipalKind, String)>, DbError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let names = self.principal_names_seen_by(reader, ids).await?;
        Ok(names.into_iter().map(|(id, known)| (id, (known.kind, known.name))).collect())
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    recipients: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    secrets: Option<String>,
}

/// The ids in the titles of these jobs. An undo is about what its parent was about. A job about all secrets that match
/// has its list once that is resolved.
fn read(conn: &mut Conn, jobs: &[JobId]) -> Result<Vec<Ids>, DbError> {
    let sql = format!(
        "SELECT j.job_id, substr(COALESCE(j.recipients, o.recipients), 1, {TITLE_CHARS}) AS recipients, \
         substr(COALESCE(s.ids, j.selection, o.selection), 1, {TITLE_CHARS}) AS secrets \
         FROM ({}) AS n JOIN jobs j ON j.job_id = n.job_id \
         LEFT JOIN jobs o ON o.job_id = j.parent AND j.kind = 'undo' \
         LEFT JOIN job_secrets s ON s.job = COALESCE(o.id, j.id) AND s.segment = 0",
        conn.each_row("$1", &[("job_id", "text")]),
    );
    let list: Vec<Value> = jobs.iter().map(|job| json!([job])).collect();
    let rows: Vec<Row> = statement(sql).bind::<Text, _>(Value::from(list).to_string()).load(conn)?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |()| DbError::Corrupt("jobs.job_id of a listed job".to_owned());
            Ok(Ids {
                job: row.job_id.parse().map_err(corrupt)?,
                recipients: row.recipients.as_deref().map(first_recipients).unwrap_or_default(),
                secrets: row.secrets.as_deref().map(first_secrets).unwrap_or_default(),
            })
        })
        .collect()
}
