//! Waits for a job's end, with a progress bar for a person at a terminal.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::interrupt::Interrupt;
use crate::cli::{Code, Failure, open, out, report, safe};
use crate::domain::{JobId, JobKind, JobSnapshot, JobState};
use crate::store::Store;

const FIRST_POLL: Duration = Duration::from_millis(50);
const SLOWEST_POLL: Duration = Duration::from_secs(1);
/// After so long in the queue, the bar says that no worker may be running.
const HINT_AFTER: Duration = Duration::from_secs(3);

/// Polls until the job has ended, then prints the notice (or the job as JSON). The exit code tells
/// how it ended. Whoever presses Ctrl-C meanwhile is told that the job goes on.
pub(super) async fn until_ended(store: &Store, id: JobId, json: bool) -> Result<Code, Failure> {
    unless_interrupted(store, id, json, Interrupt::new()).await
}

async fn unless_interrupted(
    store: &Store,
    id: JobId,
    json: bool,
    mut interrupt: Interrupt,
) -> Result<Code, Failure> {
    let mut bar = Bar::new();
    let ended = tokio::select! {
        biased;
        () = interrupt.pressed() => None,
        job = ended(store, id, &mut bar) => Some(job),
    };
    bar.bar.finish_and_clear();
    let Some(job) = ended.transpose()? else {
        out::message(&format!(
            "job {id} goes on without this command; `batchshare jobs watch {id}` waits for its end, and \
             `batchshare jobs cancel {id}` ends it"
        ));
        return Ok(Code::Interrupted);
    };
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

/// Polls until the job has ended.
async fn ended(store: &Store, id: JobId, bar: &mut Bar) -> Result<JobSnapshot, Failure> {
    let mut poll = FIRST_POLL;
    loop {
        let found = open::patiently(store.db(), async || store.job(id).await).await?;
        let Some(job) = found else { return Err(not_found(id)) };
        if job.state.is_terminal() {
            return Ok(job);
        }
        bar.show(&job);
        tokio::time::sleep(poll).await;
        poll = (poll * 2).min(SLOWEST_POLL);
    }
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
            // Whoever reads the message may press Ctrl-C at once.
            let interrupt = Interrupt::new();
            out::message(told);
            return unless_interrupted(store, job.job_id, json, interrupt).await;
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
    /// When the job was first seen running, and how many of its pairs were done then.
    first: Option<(Instant, u64)>,
}

/// The template of the bar of a running job, and of one whose size is not known or that waits.
const RUNNING: &str = "{spinner} [{bar:32}] {percent:>3} % {human_pos}/{human_len} pairs {msg}";
const WAITING: &str = "{spinner} {msg}";

/// How long the rest of a job takes, if it goes on as fast as since it was first seen. `None` if it has not moved since.
fn time_left(first: u64, done: u64, pairs: u64, elapsed: Duration) -> Option<Duration> {
    let moved = done.checked_sub(first).filter(|moved| *moved > 0)?;
    let left = pairs.saturating_sub(done);
    // The counts are far below those that a float cannot tell apart.
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let times = left as f64 / moved as f64;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * times).ok()
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, since: Instant::now(), first: None }
    }

    fn show(&mut self, job: &JobSnapshot) {
        let known = job.pairs.is_some() && job.state != JobState::Queued;
        let template = if known { RUNNING } else { WAITING };
        // The templates are constants and cannot be wrong; without a style the bar would still be a bar.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        if let Some(pairs) = job.pairs {
            self.bar.set_length(pairs);
        }
        self.bar.set_position(job.done());
        let (since, first) = *self.first.get_or_insert_with(|| (Instant::now(), job.done()));
        let left = job.pairs.filter(|_| known && job.retry.is_none());
        let left = left.and_then(|pairs| time_left(first, job.done(), pairs, since.elapsed()));
        let left = left.map_or_else(String::new, |left| format!("about {} left, ", HumanDuration(left)));
        self.bar.set_message(format!("{left}{}", self.words(job)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_pairs_that_are_missing() {
        let of = |first, done| time_left(first, done, 1_000, Duration::from_secs(10));
        assert_eq!(of(0, 500), Some(Duration::from_secs(10)));
        assert_eq!(
            of(500, 600),
            Some(Duration::from_secs(40)),
            "what was done before says nothing of the speed"
        );
        assert_eq!(of(0, 1_000), Some(Duration::ZERO));
        assert_eq!((of(0, 0), of(500, 500), of(10, 5)), (None, None, None));
        assert_eq!(time_left(0, 1, u64::MAX, Duration::MAX), None);
    }

    #[test]
    fn the_bar_has_per_cent() {
        assert!(RUNNING.contains("{percent"));
        assert!([RUNNING, WAITING].iter().all(|template| ProgressStyle::with_template(template).is_ok()));
    }
}
