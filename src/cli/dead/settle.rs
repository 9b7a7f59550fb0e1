//! `batchshare dead replay` and `batchshare dead discard`: each letter is settled by itself, and its outcome is
//! printed.

use std::collections::HashSet;
use std::time::Duration;

use crate::cli::dead::args::{Discard, Replay, Which};
use crate::cli::dead::body::{ResultBody, SettledBody};
use crate::cli::{Code, Failure, ask, out};
use crate::domain::DeadReason;
use crate::store::{Discarded, Publisher, Replayed, Store};

/// The letters that are meant, oldest first. Letters that come while the command runs are not among them.
async fn which(store: &Store, which: &Which) -> Result<Vec<i64>, Failure> {
    let ids = if which.id.is_empty() { store.kept_letters(which.reason).await? } else { which.id.clone() };
    if ids.is_empty() {
        return Err(Failure::not_found("no dead letter is kept that matches"));
    }
    Ok(ids)
}

/// What was done with one letter, in words and for programs.
struct Done(String, ResultBody);

/// Why nothing was done with one.
enum Left {
    Absent,
    Because(String),
}

/// What became of the letters that were asked for.
struct Outcomes<'a> {
    which: &'a Which,
    items: Vec<SettledBody>,
    done: u64,
    left: u64,
    absent: bool,
}

impl<'a> Outcomes<'a> {
    fn new(which: &'a Which) -> Self {
        Self { which, items: Vec::new(), done: 0, left: 0, absent: false }
    }

    async fn tell(&mut self, store: &Store, id: i64, outcome: Result<Done, Left>) -> Result<(), Failure> {
        let (words, result) = match outcome {
            Ok(Done(words, result)) => {
                self.done += 1;
                (words, result)
            }
            Err(left) => {
                self.left += 1;
                self.absent |= matches!(left, Left::Absent);
                let why = match left {
                    Left::Absent => "there is no such letter".to_owned(),
                    Left::Because(why) => why,
                };
                (format!("left as it is: {why}"), ResultBody::Refused(why))
            }
        };
        if !self.which.json {
            return out::line(format!("dead letter {id}: {words}"));
        }
        let letter = store.dead_letter(id).await?;
        self.items.push(SettledBody::new(id, letter.map(|letter| letter.item), result));
        Ok(())
    }

    /// Ends the command. That a letter was left as it is counts as an error only where it was named by its id. What was
    /// done is printed before the error that ended the command.
    fn end(self, verb: &str, result: Result<(), Failure>) -> Result<Code, Failure> {
        if self.which.json {
            out::listing(self.items, None::<i64>)?;
        } else if self.done + self.left > 1 {
            let left = match self.left {
                0 => String::new(),
                left => format!(", {} left as they are", out::grouped(left)),
            };
            out::message(&format!("{} {verb}{left}", out::grouped(self.done)));
        }
        result?;
        let named = !self.which.id.is_empty();
        Ok(match (self.absent, named && self.left > 0) {
            (true, _) => Code::NotFound,
            (false, true) => Code::Failed,
            (false, false) => Code::Done,
        })
    }
}

/// The reasons of letters that were refused. A replay of all letters leaves them out.
const REFUSED: [DeadReason; 2] = [DeadReason::PublisherNotAllowed, DeadReason::IdConflict];

/// All kept letters except those that were refused, oldest first.
async fn all_but_refused(store: &Store) -> Result<Vec<i64>, Failure> {
    let mut ids = store.kept_letters(None).await?;
    for reason in REFUSED {
        let refused: HashSet<i64> = store.kept_letters(Some(reason)).await?.into_iter().collect();
        if !refused.is_empty() {
            out::message(&format!("{} of {reason} left out", out::grouped(refused.len() as u64)));
        }
        ids.retain(|id| !refused.contains(id));
    }
    if ids.is_empty() {
        return Err(Failure::not_found("no dead letter is kept that can be replayed with all others"));
    }
    Ok(ids)
}

pub(super) async fn replay(store: &Store, args: &Replay, lease: Duration) -> Result<Code, Failure> {
    let mut outcomes = Outcomes::new(&args.which);
    let ids = if args.which.all { all_but_refused(store).await? } else { which(store, &args.which).await? };
    let publisher = if args.trust_publisher { Publisher::Trusted } else { Publisher::AsItIs };
    let result = async {
        for id in ids {
            let outcome = match store.replay_letter(id, lease, publisher).await? {
                Replayed::Reopened { job, run } => Ok(Done(
                    format!("its job {job} goes on as run {run}"),
                    ResultBody::Reopened { job_id: job, run },
                )),
                Replayed::Sent => Ok(Done("its message is sent again".to_owned(), ResultBody::Sent)),
                Replayed::Absent => Err(Left::Absent),
                Replayed::Refused(why) => Err(Left::Because(why.to_string())),
            };
            outcomes.tell(store, id, outcome).await?;
        }
        Ok(())
    };
    let result = result.await;
    outcomes.end("replayed", result)
}

pub(super) async fn discard(store: &Store, args: &Discard) -> Result<Code, Failure> {
    let ids = which(store, &args.which).await?;
    if !args.yes && !confirmed(ids.len())? {
        return Err(Failure::failed("nothing was discarded"));
    }
    let mut outcomes = Outcomes::new(&args.which);
    let result = async {
        for id in ids {
            let outcome = match store.discard_letter(id).await? {
                Discarded::Done => Ok(Done("discarded".to_owned(), ResultBody::Discarded)),
                Discarded::Absent => Err(Left::Absent),
                Discarded::Settled(state) => Err(Left::Because(format!("it is {state} already"))),
            };
            outcomes.tell(store, id, outcome).await?;
        }
        Ok(())
    };
    let result = result.await;
    outcomes.end("discarded", result)
}

/// Asks the person at the terminal whether to discard so many letters.
fn confirmed(letters: usize) -> Result<bool, Failure> {
    let what = if letters == 1 { "a dead letter".to_owned() } else { format!("{letters} dead letters") };
    let question = format!("Discard {what}? They stay in the table without their bodies, which are lost.");
    ask::confirmed(&question, "nobody is there to ask whether to discard: say --yes")
}
