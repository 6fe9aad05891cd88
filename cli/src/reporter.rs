//! What the program prints: lines for people, JSON for programs, or nothing.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::Args;
use serde::Serialize;

use crate::Result;

/// How to report.
#[derive(Args, Clone, Copy, Debug)]
pub struct Reporter {
    /// Print one JSON object a line, instead of lines for people
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

impl Reporter {
    /// Prints a line for people.
    ///
    /// # Errors
    /// When stdout cannot be written to. (A reader that closed the pipe is no error.)
    pub fn line(self, line: &str) -> Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        print(line)
    }

    /// Prints an object for programs.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn object(self, value: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        print(&serde_json::to_string(value)?)
    }

    /// Whether a progress bar is of use.
    pub fn shows_progress(self) -> bool {
        !self.json && !self.quiet && std::io::stdout().is_terminal()
    }
}

/// Prints text and a line break.
///
/// # Errors
/// As [`Reporter::line`].
pub fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(format!("cannot print: {e}").into()),
        _ => Ok(()),
    }
}
