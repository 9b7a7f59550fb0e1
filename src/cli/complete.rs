//! `batchshare completions` and `batchshare man`: what shells and `man` know of the command line, made from its
//! definition. Neither needs settings or a database.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Code, Failure, out};

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct Pages {
    /// The folder for the pages; it is made if there is none
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints the completions of a shell for this command line.
pub(super) fn completions(args: &Completions, mut command: Command) -> Result<Code, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "batchshare", &mut text);
    out::bytes(&text)?;
    Ok(Code::Done)
}

/// Writes a page for this command line and for each of its commands.
pub(super) fn pages(args: &Pages, mut command: Command) -> Result<Code, Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot write pages to {}: {error}", args.folder.display()))
    };
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    // Each command gets its whole name, like `batchshare-jobs-export`.
    command.build();
    let count = write(&command, &args.folder).map_err(failed)?;
    out::message(&format!("{} in {}", out::counted(count, "page"), args.folder.display()));
    Ok(Code::Done)
}

fn write(command: &Command, folder: &Path) -> std::io::Result<u64> {
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    if let Some(examples) = command.get_before_help() {
        text.extend_from_slice(section(&examples.to_string()).as_bytes());
    }
    std::fs::write(folder.join(page.get_filename()), text)?;
    let mut count = 1;
    for of in command.get_subcommands().filter(|of| of.get_name() != "help") {
        count += write(of, folder)?;
    }
    Ok(count)
}

/// The examples as a section of a page. Its lines stay as they are.
fn section(examples: &str) -> String {
    let mut text = String::from(".SH EXAMPLES\n.nf\n");
    for line in examples.lines().skip(1) {
        text.push_str(&line.trim_start().replace('\\', "\\e").replace('-', "\\-"));
        text.push('\n');
    }
    text.push_str(".fi\n");
    text
}
