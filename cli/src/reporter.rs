//! What the program says: lines for people, JSON for programs, or nothing.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::Args;
use serde::Serialize;

use crate::Result;

/// How to say it.
#[derive(Args, Clone, Copy, Debug)]
pub struct Talk {
    /// Print one JSON object a line, instead of lines for people
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

impl Talk {
    /// Prints a line for people.
    ///
    /// # Errors
    /// When the disk is full. (That nobody reads on is none.)
    pub fn say(self, line: &str) -> Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        print(line)
    }

    /// Prints an object for programs.
    ///
    /// # Errors
    /// As [`say`](Self::say).
    pub fn tell(self, value: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        print(&serde_json::to_string(value)?)
    }

    /// Whether somebody watches who would like to see bars.
    pub fn is_watched(self) -> bool {
        !self.json && !self.quiet && std::io::stdout().is_terminal()
    }
}

fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(format!("cannot print: {e}").into()),
        _ => Ok(()),
    }
}
