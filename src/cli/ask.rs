//! Asks the person at the terminal before something is done that cannot be taken back.

use std::io::{IsTerminal as _, Write as _};

use crate::cli::Failure;

/// Whether somebody can be asked.
pub(super) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks a question that is answered with yes or no. Without a terminal it fails with the text `nobody`, because a
/// script has to say --yes.
pub(super) fn confirmed(question: &str, nobody: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(nobody));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    stdin
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
