//! `batchshare import`: reads people, groups and secrets from files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::app;
use crate::cli::{Code, Failure, open, out};
use crate::config::Settings;
use crate::store::ImportError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files of JSON Lines; - is stdin. Each is one transaction: a bad line changes nothing
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    let sealer = app::sealer(settings, &store).await?;
    for path in &args.files {
        let name = if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() };
        let mut tries = 1;
        let done = loop {
            let lines =
                lines(path).map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
            match store.import(lines, sealer.clone()).await {
                // The lines may name secrets in any order, and somebody who takes access away locks them by their ids.
                // What came from stdin cannot be read again.
                Err(ImportError::Db(error)) if error.is_deadlock() && tries < TRIES && !is_stdin(path) => {
                    tries += 1;
                }
                done => break done.map_err(|error| failure(&name, error))?,
            }
        };
        out::line(format!(
            "{name}: {}, {}, {}, {}",
            out::counted(done.users, "user"),
            out::counted(done.user_groups, "user group"),
            out::counted(done.personal_groups, "personal group"),
            out::counted(done.secrets, "secret"),
        ))?;
    }
    Ok(Code::Done)
}

/// How often a file is imported before a deadlock counts as a failure.
const TRIES: u32 = 5;

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn lines(path: &Path) -> std::io::Result<Box<dyn BufRead + Send>> {
    if is_stdin(path) {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path)?;
    // A folder can be opened, and reading it would then fail with an error about its first line.
    if file.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(BufReader::with_capacity(64 * 1024, file)))
}

fn failure(name: &str, error: ImportError) -> Failure {
    match error {
        ImportError::Db(error) => {
            let failure = Failure::from(error);
            Failure::new(failure.code, format!("{name}: nothing was imported: {}", failure.message))
        }
        error => Failure::failed(format!("{name}: {error}; nothing of it was imported")),
    }
}
