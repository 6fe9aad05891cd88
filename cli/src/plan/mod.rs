//! `burn-skip plan`: shapes, cost and memory of a network before it runs, and why an input does not fit.

mod short;
mod template;

pub use short::short;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn_skip::net::{Advice, NetConfig};
use burn_skip::plan::{Column, Plan};
use clap::{Args, ValueEnum};
use console::{Term, style};

use crate::Result;
use crate::files::{atomic, distinct, json};
use crate::reporter::print;

/// Arguments of `burn-skip plan`.
#[derive(Args)]
pub struct PlanArgs {
    /// File of the network, in JSON
    #[arg(value_name = "NET.json", required_unless_present_any = ["template", "schema", "list_templates"])]
    net: Option<PathBuf>,

    /// Shape of the input: batch, channels and one to three spatial axes
    #[arg(long, value_parser = shape, required_unless_present_any = ["template", "schema", "list_templates"], value_name = "1x3x255x255")]
    input: Option<Shape>,

    /// Levels of the tree of layers to show; those below are summed up
    #[arg(long, value_name = "LEVELS")]
    depth: Option<usize>,

    /// Columns beside the names: input, output, parameters, mult-adds, bytes, saved, stride, field
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "output,parameters,mult-adds",
        value_name = "NAMES"
    )]
    columns: Vec<Column>,

    /// Longest line; the names of layers are shortened [default: the terminal's width]
    #[arg(long, value_name = "CHARACTERS")]
    width: Option<usize>,

    /// Output format
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    format: Format,

    /// Write the graph of the network: .svg, .mmd for Mermaid, .dot for Graphviz
    #[arg(long, value_name = "FILE")]
    diagram: Option<PathBuf>,

    /// Suggest changes that align misaligned feature maps; where the input does not fit they are printed anyway
    #[arg(long)]
    advice: bool,

    /// Print the file of a known network, and nothing else
    #[arg(long, conflicts_with_all = ["net", "input", "diagram"], value_name = "NAME")]
    template: Option<template::Template>,

    /// Print the names of the known networks
    #[arg(long, conflicts_with_all = ["net", "input", "diagram", "template", "schema"])]
    list_templates: bool,

    /// With --template: print all fields, and not only those that differ from the defaults
    #[arg(long, requires = "template")]
    full: bool,

    /// Print the JSON schema of such files, by which an editor completes and checks them
    #[arg(long, conflicts_with_all = ["net", "input", "diagram", "template"])]
    schema: bool,
}

/// The shape of an input.
#[derive(Clone, Debug)]
pub struct Shape(pub Vec<usize>);

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
pub fn shape(text: &str) -> Result<Shape, String> {
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

/// Prints the plan. The exit code is 1 where the input does not fit, which the plan explains.
///
/// # Errors
/// When a file is at fault, or the network is invalid.
pub fn run(args: &PlanArgs) -> Result<ExitCode> {
    if args.list_templates {
        print(&template::names().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(template) = args.template {
        let net = template.config();
        let file = match args.full {
            true => serde_json::to_value(&net)?,
            false => short(&net)?,
        };
        print(&serde_json::to_string_pretty(&file)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(net), Some(Shape(input))) = (&args.net, &args.input) else {
        // (The command line has one of the four.)
        print(&serde_json::to_string_pretty(&schemars::schema_for!(
            NetConfig
        ))?)?;
        return Ok(ExitCode::SUCCESS);
    };
    let is_json = matches!(args.format, Format::Json);
    if args.advice && is_json {
        return Err("--advice is text: use it with --format table or markdown".into());
    }
    let diagram = args.diagram.as_deref();
    distinct::check([net.as_path()], diagram.map(|file| ("--diagram", file)))?;
    let net: NetConfig = json::read(net)?;
    let plan = net.plan(input)?;
    if let Some(file) = diagram {
        write_diagram(&plan, args, file)?;
    }
    print(text_of(&plan, args)?.trim_end())?;
    let fits = plan.error().is_none();
    if (args.advice || !fits) && !is_json {
        print_advice(&net.advice(input))?;
    }
    Ok(match fits {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn write_diagram(plan: &Plan, args: &PlanArgs, file: &Path) -> Result<()> {
    let diagram = plan.diagram().with_depth(args.depth.unwrap_or(2));
    let extension = file.extension().and_then(|extension| extension.to_str());
    let text = match extension {
        Some("mmd") => diagram.mermaid(),
        Some("dot") => diagram.dot(),
        Some("svg") => diagram.svg(),
        _ => {
            return Err(format!(
                "--diagram: the ending of {} is no known format: use .svg, .mmd for Mermaid or .dot for Graphviz",
                file.display()
            )
            .into());
        }
    };
    Ok(atomic::write(file, text.as_bytes())?)
}

fn print_advice(advice: &[Advice]) -> Result<()> {
    for advice in advice {
        let changes: Vec<String> = advice.changes.iter().map(ToString::to_string).collect();
        let changes = changes.join("; ");
        let cost = advice.mult_adds as f64 / 1e9;
        let left = match advice.misalignments {
            0 => String::new(),
            some => format!(", {some} merges still misaligned"),
        };
        print(&format!("advice: {changes} ({cost:.2} G mult-adds{left})"))?;
    }
    Ok(())
}

fn text_of(plan: &Plan, args: &PlanArgs) -> Result<String> {
    let summary = plan
        .summary()
        .with_columns(args.columns.clone())
        .with_depth(args.depth.unwrap_or(usize::MAX))
        .with_width(args.width.or_else(terminal_width).unwrap_or(usize::MAX));
    Ok(match args.format {
        Format::Table => with_bold_heading(&summary.to_string()),
        Format::Markdown => summary.markdown(),
        Format::Json => serde_json::to_string_pretty(plan)?,
    })
}

fn terminal_width() -> Option<usize> {
    let terminal = Term::stdout();
    terminal.is_term().then(|| terminal.size().1.into())
}

/// The first line bold, on a terminal.
fn with_bold_heading(table: &str) -> String {
    match table.split_once('\n') {
        Some((heading, rest)) => format!("{}\n{rest}", style(heading).bold()),
        None => table.into(),
    }
}
