//! Waits for a job's end, with a progress bar for a person at a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Code, Failure, open, out, report, safe};
use crate::domain::{JobId, JobKind, JobSnapshot, JobState};
use crate::store::Store;

const FIRST_POLL: Duration = Duration::from_millis(50);
const SLOWEST_POLL: Duration = Duration::from_secs(1);
/// After so long in the queue, the bar says that no worker may be running.
const HINT_AFTER: Duration = Duration::from_secs(3);

/// Polls until the job has ended, then prints the notice (or the job as JSON). The exit code tells
/// how it ended.
pub(super) async fn until_ended(store: &Store, id: JobId, json: bool) -> Result<Code, Failure> {
    let bar = Bar::new();
    let mut poll = FIRST_POLL;
    let job = loop {
        let found = open::patiently(store.db(), async || store.job(id).await).await?;
        let Some(job) = found else { return Err(not_found(id)) };
        if job.state.is_terminal() {
            break job;
        }
        bar.show(&job);
        tokio::time::sleep(poll).await;
        poll = (poll * 2).min(SLOWEST_POLL);
    };
    bar.bar.finish_and_clear();
    if json {
        out::json(&report::body_with_rejections(store, &job, report::REJECTIONS_IN_JSON).await?)?;
    } else {
        report::notice(store, &job).await?;
    }
    Ok(match job.state {
        JobState::Completed => Code::Done,
        JobState::CompletedWithRejections => Code::CompletedWithRejections,
        _ => Code::JobFailed,
    })
}

/// Says which job was made, in the words of `told`, and waits for its end; or, with `no_wait`, prints the job or its id
/// and leaves it.
pub(super) async fn or_leave(
    store: &Store,
    job: &JobSnapshot,
    told: &str,
    no_wait: bool,
    json: bool,
) -> Result<Code, Failure> {
    match (no_wait, json) {
        (false, _) => {
            out::message(told);
            return until_ended(store, job.job_id, json).await;
        }
        (true, true) => out::json(&report::body(job))?,
        (true, false) => out::line(job.job_id)?,
    }
    Ok(Code::Done)
}

pub(super) fn not_found(id: JobId) -> Failure {
    Failure::not_found(format!("there is no job {id} in this database"))
}

/// The progress bar. It is hidden where stderr is no terminal.
struct Bar {
    bar: ProgressBar,
    since: Instant,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, since: Instant::now() }
    }

    fn show(&self, job: &JobSnapshot) {
        let known = job.pairs.is_some() && job.state != JobState::Queued;
        let template = if known {
            "{spinner} [{bar:32}] {human_pos}/{human_len} pairs {msg}"
        } else {
            "{spinner} {msg}"
        };
        // The templates are constants and cannot be wrong; without a style the bar would still be a bar.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        if let Some(pairs) = job.pairs {
            self.bar.set_length(pairs);
        }
        self.bar.set_position(job.done());
        self.bar.set_message(self.words(job));
    }

    fn words(&self, job: &JobSnapshot) -> String {
        match (&job.retry, job.state) {
            (Some(retry), _) => format!("waiting for another try: {}", safe::one_line(&retry.last_error)),
            (None, JobState::Queued) if self.since.elapsed() > HINT_AFTER => {
                "queued: is `batchshare up` or `batchshare work` running?".to_owned()
            }
            (None, JobState::Queued) => "queued".to_owned(),
            (None, _) => match job.kind {
                JobKind::Share => format!("shared {}", out::grouped(job.counts.shared())),
                JobKind::Undo | JobKind::Unshare => {
                    format!("taken back {}", out::grouped(job.taken.revoked + job.taken.lowered))
                }
            },
        }
    }
}
