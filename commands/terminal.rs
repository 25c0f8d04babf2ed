//! What may be written to a terminal beside text. Knows no command.

use std::io::IsTerminal;

/// Whether a stream takes colours and bold type: it is a terminal that has them, and `NO_COLOR`
/// does not forbid it.
pub(crate) fn is_styled(stream: &impl IsTerminal) -> bool {
    let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_forbidden && !is_dumb()
}

/// Whether the terminal can only show text.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
