//! The command line, with a file for each command. Results go to stdout, and messages to stderr.

mod allocator;
mod ask;
mod audit;
mod backup;
mod cancel;
mod complete;
mod dead;
mod examples;
mod export;
mod failure;
mod foresee;
mod import;
mod interrupt;
mod jobs;
mod keygen;
mod migrate;
mod open;
mod out;
mod pick;
mod received;
mod recipients;
mod report;
mod rest;
mod safe;
mod serve;
mod share;
mod title;
mod topology;
mod undo;
mod unshare;
pub mod up;
mod watch;
mod why;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::broker::Rabbit;
use crate::cli::failure::EXIT_CODES;
pub use crate::cli::failure::{Code, Failure};
use crate::config::Settings;
use crate::telemetry::logs as telemetry;

/// Shares API secrets in batches, as jobs that run in the background.
#[derive(Debug, Parser)]
#[command(name = "batchshare", version, before_help = examples::ALL, after_help = EXIT_CODES)]
pub struct Cli {
    /// Settings (TOML) over the built-in defaults
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process on one SQLite file, with demo data on the first start
    #[command(before_help = examples::UP)]
    Up,
    /// Run the gateway: HTTP, notices, sending of messages
    #[command(before_help = examples::SERVE)]
    Serve(serve::Args),
    /// Run a worker: takes jobs and applies them
    #[command(before_help = examples::WORK)]
    Work(work::Args),
    /// Bring the database up to date
    #[command(before_help = examples::MIGRATE)]
    Migrate,
    /// Import people, groups and secrets from JSON Lines; a file is one transaction and repeatable
    #[command(before_help = examples::IMPORT)]
    Import(import::Args),
    /// Write the embedded database to a new file, also while it is in use
    #[command(before_help = examples::BACKUP)]
    Backup(backup::Args),
    /// Put a backup in the place of the embedded database, and keep what was there
    #[command(before_help = examples::RESTORE)]
    Restore(backup::Args),
    /// Share API secrets with people and groups, and wait for the notice
    #[command(before_help = examples::SHARE)]
    Share(share::Args),
    /// Take access to API secrets away from people and groups, and wait for the notice
    #[command(before_help = examples::UNSHARE)]
    Unshare(unshare::Args),
    /// Look at jobs and export them; cancel them or undo them
    #[command(subcommand, before_help = examples::JOBS)]
    Jobs(jobs::Command),
    /// Explain why a person has access to a secret: through what, since when, and who asked for it
    Why(why::Args),
    /// Show what was shared with a person and with their groups, and what became of it
    Received(received::Args),
    /// Look at messages that could not be handled; replay or discard them
    #[command(subcommand, before_help = examples::DEAD)]
    Dead(dead::Command),
    /// Look at what people and operators did
    #[command(subcommand, before_help = examples::AUDIT)]
    Audit(audit::Command),
    /// Print the broker's names and permissions, or declare the topology
    #[command(before_help = examples::TOPOLOGY)]
    Topology(topology::Args),
    /// Print a new key for vault.key_file
    #[command(before_help = examples::KEYGEN)]
    Keygen,
    /// Print the completions of a shell
    #[command(before_help = examples::COMPLETIONS)]
    Completions(complete::Completions),
    /// Write the pages for `man`, one for each command
    #[command(before_help = examples::MAN)]
    Man(complete::Pages),
}

/// Runs the program: reads the settings, starts the log and runs the command. This is the one place that prints errors.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    if matches!(cli.command, Command::Up | Command::Serve(_) | Command::Work(_)) {
        allocator::give_back_at_once();
    }
    let result = match &cli.command {
        Command::Completions(args) => complete::completions(args, Cli::command()),
        Command::Man(args) => complete::pages(args, Cli::command()),
        _ => with_settings(cli),
    };
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                out::message(&format!("batchshare: {}", failure.message));
            }
            failure.code.into()
        }
    }
}

fn with_settings(cli: Cli) -> Result<Code, Failure> {
    let settings =
        Settings::load(cli.config.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
    telemetry::init(&settings.log).map_err(|error| Failure::usage(format!("configuration: {error}")))?;
    run(cli, settings)
}

/// Checks the environment variable from which tokio takes the number of its threads. tokio panics where it is no
/// number.
fn check_threads() -> Result<(), Failure> {
    const NAME: &str = "TOKIO_WORKER_THREADS";
    let Some(text) = std::env::var_os(NAME) else { return Ok(()) };
    match text.to_str().map(str::parse::<usize>) {
        Some(Ok(1..)) => Ok(()),
        _ => Err(Failure::usage(format!("the environment variable {NAME} must be a number, 1 or more"))),
    }
}

fn run(cli: Cli, settings: Settings) -> Result<Code, Failure> {
    check_threads()?;
    if !settings.is_embedded() {
        let checked = Rabbit::check_url(&settings.broker.url);
        checked.map_err(|form| Failure::usage(format!("configuration: {form}")))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Up => up::run(settings).await,
            Command::Serve(args) => serve::run(args, settings).await,
            Command::Work(args) => work::run(args, settings).await,
            Command::Migrate => migrate::run(&settings).await,
            Command::Import(args) => import::run(args, &settings).await,
            Command::Backup(args) => backup::back_up(args, &settings).await,
            Command::Restore(args) => backup::restore(args, &settings).await,
            Command::Share(args) => share::run(args, &settings).await,
            Command::Unshare(args) => unshare::run(args, &settings).await,
            Command::Jobs(command) => jobs::run(command, &settings).await,
            Command::Why(args) => why::run(args, &settings).await,
            Command::Received(args) => received::run(args, &settings).await,
            Command::Dead(command) => dead::run(command, &settings).await,
            Command::Audit(command) => audit::run(command, &settings).await,
            Command::Topology(args) => topology::run(args, settings).await,
            Command::Keygen => keygen::run(),
            // These need no settings, and were done before.
            Command::Completions(args) => complete::completions(&args, Cli::command()),
            Command::Man(args) => complete::pages(&args, Cli::command()),
        }
    });
    // This does not wait for blocking threads, because an attempt to connect may hang in one.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Calls `each` with every command and its name, like `batchshare jobs export`.
    fn commands(of: &clap::Command, name: &str, each: &mut impl FnMut(&clap::Command, &str)) {
        each(of, name);
        for command in of.get_subcommands().filter(|command| command.get_name() != "help") {
            commands(command, &format!("{name} {}", command.get_name()), each);
        }
    }

    #[test]
    fn each_help_begins_with_examples_that_are_command_lines() {
        let mut count = 0;
        commands(&Cli::command(), "batchshare", &mut |command, name| {
            let examples = command.get_before_help().unwrap_or_else(|| panic!("{name} has no examples"));
            let (examples, help) = (examples.to_string(), command.clone().render_help().to_string());
            assert!(help.starts_with("Examples:\n  batchshare "), "{help}");
            for line in examples.trim_end().lines().skip(1) {
                let line = line.strip_prefix("  ").expect("two spaces");
                let words: Vec<&str> = line.split_whitespace().collect();
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("it is wrong"));
                // Options of the program itself may stand in front of the command.
                let last = name.rsplit(' ').next().expect("a word");
                assert!(words.contains(&last), "{line} is no example of {name}");
                count += 1;
            }
        });
        assert!(count > 40, "{count}");
    }
}
