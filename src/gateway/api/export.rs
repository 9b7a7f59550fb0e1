//! `/share-jobs/{id}/export`: the report of a job as a file, with a line for every pair.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use tokio::time::Instant;

use crate::contract::{ExportFormat, ExportText};
use crate::db::DbError;
use crate::domain::JobId;
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::limits::turns::{ExportTurn, Exporting};
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::gateway::state::GatewayState;
use crate::shutdown::Stop;
use crate::store::{Export, Person, SignIn};

/// How often it is looked whether the person may still sign in.
const RECHECK: Duration = Duration::from_secs(10);

/// The values of the parameter `format`.
const FORMATS: &[(&str, ExportFormat)] =
    &[(ExportFormat::Csv.as_str(), ExportFormat::Csv), (ExportFormat::Jsonl.as_str(), ExportFormat::Jsonl)];

/// `GET /share-jobs/{id}/export`: what became of every pair of one of the person's own jobs, and what it has now. The
/// report is read in parts and written piece by piece, so that a client that reads slowly keeps a part waiting and no
/// connection to the database.
pub(in crate::gateway) async fn export(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    Exporting(me, turn): Exporting,
    path: PathIds,
    params: Params,
) -> Result<Response, Problem> {
    let job: JobId = path.parsed(0)?;
    params.only(&["format"])?;
    let format = params.choice("format", FORMATS)?;
    let held = turn.reading().await;
    let export = state.store.export(job, Some(me.id)).await?.ok_or_else(Problem::not_found)?;
    let text = ExportText::new(format, export.recipients().clone());
    // An error in the first part can still be answered as a problem, because nothing was sent yet.
    let (export, part) = state.store.export_part(export).await?;
    drop(held);
    let mut sending = Sending { state, me, turn, stop: caller.stop, export, text, rights: Instant::now() };
    sending.text.take(part);
    // An error in the middle cuts the connection. No client takes what was sent for the whole then.
    let pieces = try_unfold(Some(sending), |sending| async {
        let Some(sending) = sending else { return Ok(None) };
        sending.piece().await.inspect_err(|why| tracing::warn!(%why, "an export was cut off in the middle"))
    });
    let file = format!("attachment; filename=\"batchshare-{job}.{format}\"");
    let headers = [(CONTENT_TYPE, format.media_type().to_owned()), (CONTENT_DISPOSITION, file)];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// An export that is being sent.
struct Sending {
    state: GatewayState,
    me: Person,
    turn: ExportTurn,
    stop: Stop,
    export: Export,
    text: ExportText,
    /// When the person was last found to be able to sign in.
    rights: Instant,
}

/// Why an export ends before its end.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the database: {0}")]
    Database(#[from] DbError),
    #[error("a line cannot be written: {0}")]
    Text(#[from] std::io::Error),
    #[error("the person cannot sign in any more")]
    SignedOut,
    #[error("the gateway stops")]
    Stopping,
}

impl Sending {
    /// The next piece of the text. `None` if everything was sent.
    async fn piece(mut self) -> Result<Option<(Vec<u8>, Option<Self>)>, Cut> {
        loop {
            if self.stop.is_set() {
                return Err(Cut::Stopping);
            }
            if let Some(piece) = self.text.piece()? {
                return Ok(Some((piece, Some(self))));
            }
            let held = tokio::select! {
                biased;
                () = self.stop.wait() => return Err(Cut::Stopping),
                held = self.turn.reading() => held,
            };
            self.check_rights().await?;
            let (export, part) = self.state.store.export_part(self.export).await?;
            drop(held);
            if part.secrets.is_empty() {
                return Ok(None);
            }
            self.export = export;
            self.text.take(part);
        }
    }

    async fn check_rights(&mut self) -> Result<(), Cut> {
        if self.rights.elapsed() >= RECHECK {
            match self.state.store.sign_in(self.me.username.clone()).await? {
                SignIn::Person(person) if person.id == self.me.id => {}
                _ => return Err(Cut::SignedOut),
            }
            self.rights = Instant::now();
        }
        Ok(())
    }
}
