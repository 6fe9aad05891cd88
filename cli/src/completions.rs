//! `burn-skip completions`: a script by which a shell completes the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Result;
use crate::reporter;

/// Arguments of `burn-skip completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When stdout cannot be written to.
pub fn run<C: CommandFactory>(args: CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "burn-skip", &mut script);
    reporter::print(String::from_utf8_lossy(&script).trim_end())
}
