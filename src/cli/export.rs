//! `batchshare jobs export`: writes what became of each pair of a job, as CSV or as JSON Lines.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::cancel::job_id;
use crate::cli::failure::EXIT_CODES;
use crate::cli::interrupt::Interrupt;
use crate::cli::{Code, Failure, out, safe, watch};
use crate::contract::{ExportFormat, ExportText};
use crate::domain::JobId;
use crate::domain::report::{ReportPart, ReportRecipient};
use crate::files;
use crate::store::{Export, Store};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    #[arg(value_parser = job_id)]
    id: JobId,
    /// csv, which a spreadsheet opens, or jsonl, with a JSON object on each line
    #[arg(long, value_parser = format, default_value = ExportFormat::Csv.as_str())]
    format: ExportFormat,
    /// Write to this file, which appears when it is whole, and replace one that is there
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn format(text: &str) -> Result<ExportFormat, String> {
    ExportFormat::from_name(text).ok_or_else(|| "is neither csv nor jsonl".to_owned())
}

pub(super) async fn run(store: &Store, args: &Args) -> Result<Code, Failure> {
    let mut interrupt = Interrupt::new();
    tokio::select! {
        biased;
        () = interrupt.pressed() => Ok(Code::Interrupted),
        done = export(store, args) => done,
    }
}

async fn export(store: &Store, args: &Args) -> Result<Code, Failure> {
    let export = store.export(args.id, None).await?.ok_or_else(|| watch::not_found(args.id))?;
    let mut output = match &args.output {
        Some(path) => Output::File(Unfinished::new(path)?),
        None => Output::Stdout,
    };
    let pairs = write(store, export, args.format, &mut output).await?;
    if let Output::File(file) = output {
        let path = file.path.display().to_string();
        file.finish()?;
        out::message(&format!("{} in {path}", out::counted(pairs, "line")));
    }
    if let Some(job) = store.job(args.id).await?.filter(|job| !job.state.is_terminal()) {
        out::message(&format!("job {} has not ended: it is {}", args.id, job.state));
    }
    Ok(Code::Done)
}

/// Writes all parts of the report, and returns how many pairs there were.
async fn write(
    store: &Store,
    export: Export,
    format: ExportFormat,
    output: &mut Output,
) -> Result<u64, Failure> {
    let recipients: Arc<[ReportRecipient]> = match output {
        Output::Stdout => export.recipients().iter().cloned().map(shown_recipient).collect(),
        Output::File(_) => Arc::clone(export.recipients()),
    };
    let mut text = ExportText::new(format, recipients);
    let (mut export, mut pairs) = (export, 0);
    loop {
        let part;
        (export, part) = store.export_part(export).await?;
        let last = part.secrets.is_empty();
        pairs += part.pairs.len() as u64;
        text.take(match output {
            Output::Stdout => shown(part),
            Output::File(_) => part,
        });
        while let Some(piece) = text.piece().map_err(cannot_write)? {
            output.write(&piece)?;
        }
        if last {
            return Ok(pairs);
        }
    }
}

/// The part with names that a terminal may print. A file has them as they are.
fn shown(mut part: ReportPart) -> ReportPart {
    for secret in &mut part.secrets {
        secret.name = secret.name.as_deref().map(safe::lines);
    }
    part
}

fn shown_recipient(mut of: ReportRecipient) -> ReportRecipient {
    of.name = of.name.as_deref().map(safe::lines);
    of
}

fn cannot_write(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot write the export: {error}"))
}

/// Where the export goes.
enum Output {
    Stdout,
    File(Unfinished),
}

impl Output {
    fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => out::bytes(piece),
            Self::File(file) => file.writer.write_all(piece).map_err(cannot_write),
        }
    }
}

/// A file under another name, which is removed when this is dropped. When it is finished, it takes its name.
struct Unfinished {
    path: PathBuf,
    beside: PathBuf,
    writer: BufWriter<File>,
}

impl Unfinished {
    fn new(path: &Path) -> Result<Self, Failure> {
        // A folder, a device or a pipe would be replaced by the file, or could not be.
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Failure::usage(format!("{} is there already, and is no file", path.display())));
        }
        let beside = files::beside(path, &format!(".{}.new", uuid::Uuid::new_v4().simple()));
        let file =
            files::create(&beside).map_err(|error| Failure::failed(format!("the export's file {error}")))?;
        Ok(Self { path: path.to_owned(), beside, writer: BufWriter::new(file) })
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.writer
            .flush()
            .and_then(|()| self.writer.get_ref().sync_all())
            .and_then(|()| std::fs::rename(&self.beside, &self.path))
            .and_then(|()| files::sync_folder(&self.path))
            .map_err(cannot_write)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.beside);
    }
}
