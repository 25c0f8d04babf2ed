//! Asking before something is destroyed.

use std::io::{IsTerminal as _, Write as _};

use crate::failure::{Exit, Failure};

/// Goes on when the answer is yes. Without a terminal nobody can answer, so `--yes` is needed.
pub(crate) async fn confirm(is_confirmed: bool, question: &str) -> Result<(), Failure> {
    if is_confirmed {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let failure = Failure::usage("this deletes data and nobody can be asked");
        return Err(failure.hint("give --yes to do it, or --dry-run to see what it would do"));
    }
    let question = format!("{question} [y/N] ");
    // On a thread of its own, so that Ctrl-C ends the command while it waits.
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr();
        stderr.write_all(question.as_bytes())?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok::<String, std::io::Error>(answer)
    });
    match answer.await.map_err(std::io::Error::other)??.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "nothing was done")),
    }
}
