//! Shows a network before it runs: what comes out where, what it costs, and why it does not fit.
//!
//! ```text
//! cargo run --example plan -- --template unet > net.json
//! cargo run --example plan -- net.json --input 1x3x255x255
//! cargo run --example plan -- net.json --input 1x3x255x255 --depth 2 --diagram net.mmd
//! ```

#[path = "../support/json_file.rs"]
mod json_file;
mod template;
#[path = "../support/whole_file.rs"]
mod whole_file;

use std::path::PathBuf;
use std::process::ExitCode;

use burn_skip::net::{Advice, NetConfig};
use burn_skip::plan::{Column, Plan};
use clap::{Parser, ValueEnum};
use console::{Term, style};

#[derive(Parser)]
#[command(
    about = "Shows a network before it runs",
    arg_required_else_help = true
)]
struct Cli {
    /// The file of the network, in JSON
    #[arg(required_unless_present_any = ["template", "schema"])]
    net: Option<PathBuf>,
    /// The shape of the input: batch, channels and one to three spatial axes
    #[arg(long, value_parser = shape, required_unless_present_any = ["template", "schema"], value_name = "1x3x255x255")]
    input: Option<Shape>,
    /// Levels of parts to show; those below are summed up
    #[arg(long)]
    depth: Option<usize>,
    /// Columns beside the names: input, output, parameters, mult-adds, bytes, kept, stride, field
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "output,parameters,mult-adds"
    )]
    columns: Vec<Column>,
    /// Characters of a line at most; the names are shortened [default: the terminal's]
    #[arg(long)]
    width: Option<usize>,
    /// What to print
    #[arg(long, default_value = "table")]
    format: Format,
    /// Writes the graph of the network: .svg, .mmd for Mermaid, .dot for Graphviz
    #[arg(long, value_name = "FILE")]
    diagram: Option<PathBuf>,
    /// Say what to change where maps do not lie on each other; where a size does not fit it is said anyway
    #[arg(long)]
    advice: bool,
    /// Prints the file of a known network, and nothing else
    #[arg(long, conflicts_with_all = ["net", "input", "diagram"])]
    template: Option<template::Template>,
    /// Prints the JSON schema of such files, by which an editor completes and checks them
    #[arg(long, conflicts_with_all = ["net", "input", "diagram", "template"])]
    schema: bool,
}

#[derive(Clone, Debug)]
struct Shape(Vec<usize>);

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A table for the terminal
    Table,
    /// A table in Markdown
    Markdown,
    /// The whole plan in JSON
    Json,
}

/// `1x3x255x255`
fn shape(text: &str) -> Result<Shape, String> {
    let axes: Result<Vec<usize>, _> = text.split(['x', ',']).map(str::parse).collect();
    match axes {
        Ok(axes) if (3..=5).contains(&axes.len()) => Ok(Shape(axes)),
        Ok(axes) => Err(format!(
            "these are {} axes; give batch, channels and one to three spatial axes, such as 1x3x255x255",
            axes.len()
        )),
        Err(_) => Err("give whole numbers with an x between them, such as 1x3x255x255".into()),
    }
}

fn main() -> ExitCode {
    let outcome = run(&Cli::parse());
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // The plan has said why.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the input fits.
fn run(cli: &Cli) -> Result<bool, String> {
    if let Some(template) = cli.template {
        let text = serde_json::to_string_pretty(&template.config()).map_err(|e| e.to_string())?;
        print(&text)?;
        return Ok(true);
    }
    if cli.schema {
        let schema = schemars::schema_for!(NetConfig);
        let text = serde_json::to_string_pretty(&schema).map_err(|e| e.to_string())?;
        print(&text)?;
        return Ok(true);
    }
    let (Some(net), Some(Shape(input))) = (&cli.net, &cli.input) else {
        unreachable!("clap asks for them")
    };
    if cli.advice && matches!(cli.format, Format::Json) {
        return Err("--advice is in words: take it with --format table or markdown".into());
    }
    let net = json_file::read::<NetConfig>(net)?;
    let plan = net.plan(input).map_err(|e| e.to_string())?;
    if let Some(file) = &cli.diagram {
        let diagram = plan.diagram().with_depth(cli.depth.unwrap_or(2));
        let text = match file.extension().and_then(|extension| extension.to_str()) {
            Some("mmd") => diagram.mermaid(),
            Some("dot") => diagram.dot(),
            Some("svg") => diagram.svg(),
            _ => {
                return Err(format!(
                    "{} says not what it is: end it in .svg, in .mmd for Mermaid or in .dot for Graphviz",
                    file.display()
                ));
            }
        };
        whole_file::write(file, text.as_bytes())?;
    }
    print(&text_of(&plan, cli)?)?;
    let fits = plan.error().is_none();
    if (cli.advice || !fits) && !matches!(cli.format, Format::Json) {
        print_advice(&net.advice(input))?;
    }
    Ok(fits)
}

fn print_advice(advice: &[Advice]) -> Result<(), String> {
    for advice in advice {
        let changes = advice.changes.join("; ");
        let cost = advice.mult_adds as f64 / 1e9;
        let apart = match advice.misalignments {
            0 => String::new(),
            some => format!(", {some} merges still apart"),
        };
        print(&format!("advice: {changes} ({cost:.2} G mult-adds{apart})"))?;
    }
    Ok(())
}

fn text_of(plan: &Plan, cli: &Cli) -> Result<String, String> {
    let summary = plan
        .summary()
        .with_columns(cli.columns.clone())
        .with_depth(cli.depth.unwrap_or(usize::MAX))
        .with_width(cli.width.or_else(terminal_width).unwrap_or(usize::MAX));
    match cli.format {
        Format::Table => Ok(coloured(&summary.to_string())),
        Format::Markdown => Ok(summary.markdown()),
        Format::Json => serde_json::to_string_pretty(plan).map_err(|e| e.to_string()),
    }
}

fn terminal_width() -> Option<usize> {
    let terminal = Term::stdout();
    terminal.is_term().then(|| terminal.size().1.into())
}

/// The titles bold, what is wrong red, what is to be noted yellow; only on a terminal.
fn coloured(table: &str) -> String {
    let lines = table.lines().enumerate().map(|(index, line)| {
        let line = style(line);
        let text = line.to_string();
        match index {
            0 => line.bold(),
            _ if text.contains("does not fit") || text.contains("error:") => line.red(),
            _ if text.contains("note:") => line.yellow(),
            _ => line,
        }
        .to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints, unless nobody reads on.
fn print(text: &str) -> Result<(), String> {
    use std::io::{ErrorKind, Write};
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(format!("cannot print: {e}")),
        _ => Ok(()),
    }
}
