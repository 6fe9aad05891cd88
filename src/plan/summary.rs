//! [`Summary`]: a plan as a table, for the terminal or in Markdown.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;
use core::str::FromStr;

use super::{MapPlan, Node, Plan};

/// A column of a summary.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, plan::{Column, Trace}};
///
/// let plan = UnetConfig::new(3, 2, vec![8, 16]).plan([1, 3, 32, 32]);
/// let text = plan.summary().with_columns([Column::Output, Column::Bytes]).markdown();
/// assert!(text.starts_with("| layer | output | bytes |"));
/// assert_eq!("mult-adds".parse::<Column>().unwrap(), Column::MultAdds);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The shapes of what goes in.
    Input,
    /// The shapes of what comes out.
    Output,
    /// The learned parameters.
    Parameters,
    /// The multiply-adds of the batch.
    MultAdds,
    /// The bytes of what comes out, in f32.
    Bytes,
    /// The bytes of what waits for the gradients in a training step.
    Kept,
    /// The stride of the output on the input of the network, an axis each.
    Stride,
    /// The receptive field of a position of the output, an axis each.
    Field,
}

impl FromStr for Column {
    type Err = String;

    /// By its title.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|column| column.title() == text);
        found.ok_or_else(|| {
            let titles = Self::ALL.map(Self::title).join(", ");
            format!("there is no column {text}; choose of {titles}")
        })
    }
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Input,
        Self::Output,
        Self::Parameters,
        Self::MultAdds,
        Self::Bytes,
        Self::Kept,
        Self::Stride,
        Self::Field,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Parameters => "parameters",
            Self::MultAdds => "mult-adds",
            Self::Bytes => "bytes",
            Self::Kept => "kept",
            Self::Stride => "stride",
            Self::Field => "field",
        }
    }

    fn is_number(self) -> bool {
        matches!(
            self,
            Self::Parameters | Self::MultAdds | Self::Bytes | Self::Kept
        )
    }

    /// Of a part; `whole` where its own parts have no lines of their own.
    fn cell(self, node: &Node, whole: bool) -> String {
        let number = |number: u64| match number {
            0 => String::new(),
            number => with_separators(number),
        };
        let of_axes = |number: &dyn Fn(&super::Grid) -> f64| {
            let grid = node.outputs.last().and_then(|map| map.grid.as_ref());
            let axes = grid.iter().flat_map(|grid| grid.iter());
            let axes: Vec<String> = axes.map(|grid| short(number(grid))).collect();
            match axes.split_first() {
                Some((first, rest)) if rest.iter().all(|axis| axis == first) => first.clone(),
                _ => axes.join("x"),
            }
        };
        match self {
            Self::Input => shapes(&node.inputs),
            Self::Output if node.error.is_some() || (whole && node.find_error().is_some()) => {
                "does not fit".to_string()
            }
            Self::Output => shapes(&node.outputs),
            Self::Parameters if whole => number(node.total_parameters() as u64),
            Self::Parameters => number(node.parameters as u64),
            Self::MultAdds if whole => number(node.total_mult_adds()),
            Self::MultAdds => number(node.mult_adds),
            Self::Bytes if whole => number(node.outputs.iter().map(|map| map.bytes() as u64).sum()),
            Self::Bytes => String::new(),
            Self::Kept if whole => number(node.total_kept()),
            Self::Kept => number(node.kept),
            Self::Stride => of_axes(&|grid| grid.stride),
            Self::Field => of_axes(&|grid| grid.field),
        }
    }
}

fn shapes(maps: &[MapPlan]) -> String {
    let shape = |map: &MapPlan| {
        let axes: Vec<String> = map.shape.iter().map(ToString::to_string).collect();
        axes.join("x")
    };
    match maps {
        [] => String::new(),
        [one] => shape(one),
        [.., last] => format!("{} maps, {}", maps.len(), shape(last)),
    }
}

/// `1234567` as `1,234,567`.
fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With two decimals, if it has any.
fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// With the unit that leaves one to three digits before the point.
fn with_unit(number: u64, base: u64, units: [&str; 5]) -> String {
    let mut value = number as f64;
    let mut index = 0;
    while value >= base as f64 && index + 1 < units.len() {
        value /= base as f64;
        index += 1;
    }
    match index {
        0 => format!("{number}{}", units[0]),
        _ => format!("{value:.2}{}", units[index]),
    }
}

/// A table of the parts of a plan. `Display` is for a terminal, [`markdown`](Self::markdown) for a page.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, plan::Trace};
///
/// let plan = UnetConfig::new(3, 2, vec![16, 32, 64]).plan([1, 3, 45, 61]);
/// let text = plan.summary().with_depth(1).markdown();
/// assert!(text.contains("| &emsp;head: Conv | 1x2x45x61 | 34 | 93,330 |"));
/// assert!(text.contains("parameters: 118,610 (463.32 KiB)"));
/// ```
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    plan: &'a Plan,
    depth: usize,
    columns: Vec<Column>,
    width: usize,
}

impl<'a> Summary<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            depth: usize::MAX,
            columns: vec![Column::Output, Column::Parameters, Column::MultAdds],
            width: usize::MAX,
        }
    }

    /// Shows parts of parts down to so many levels; those below are summed up. Default: all.
    pub fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Sets the columns beside the names. Default: output, parameters, multiply-adds.
    pub fn with_columns(mut self, columns: impl Into<Vec<Column>>) -> Self {
        self.columns = columns.into();
        self
    }

    /// Shortens the names so that a line is no longer than this, if it can be. Default: no limit.
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// The lines of the table: the depth of a part, its name, and its cells.
    fn rows(&self) -> Vec<(usize, String, Vec<String>)> {
        let mut rows = Vec::new();
        self.add(&self.plan.root, 0, &mut rows);
        rows
    }

    fn add(&self, node: &Node, depth: usize, rows: &mut Vec<(usize, String, Vec<String>)>) {
        let whole = node.children.is_empty() || depth >= self.depth;
        let cells = self.columns.iter().map(|column| column.cell(node, whole));
        let name = match node.name.is_empty() {
            true => node.kind.clone(),
            false => format!("{}: {}", node.name, node.kind),
        };
        rows.push((depth, name, cells.collect()));
        if depth < self.depth {
            for child in &node.children {
                self.add(child, depth + 1, rows);
            }
        }
    }

    /// What stands below the table.
    fn notes(&self) -> Vec<String> {
        let root = &self.plan.root;
        let units = ["", " k", " M", " G", " T"];
        let bytes = [" B", " KiB", " MiB", " GiB", " TiB"];
        let mut notes = vec![
            format!(
                "parameters: {} ({})",
                with_separators(root.total_parameters() as u64),
                with_unit(4 * root.total_parameters() as u64, 1024, bytes),
            ),
            format!(
                "mult-adds: {}",
                with_unit(root.total_mult_adds(), 1000, units)
            ),
            format!("maps: {}", with_unit(root.map_bytes(), 1024, bytes)),
            format!(
                "memory: {} in inference, {} in a training step, {} of it kept for the gradients",
                with_unit(self.plan.memory.inference, 1024, bytes),
                with_unit(self.plan.memory.training, 1024, bytes),
                with_unit(self.plan.memory.kept, 1024, bytes),
            ),
        ];
        if let Some(error) = self.plan.error() {
            notes.insert(0, "up to where it does not fit:".to_string());
            notes.push(format!("error: {error}"));
        }
        for (path, found) in self.plan.misalignments() {
            notes.push(format!("note: {path}: {found}"));
        }
        notes
    }

    /// As a table in Markdown.
    pub fn markdown(&self) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title()).collect();
        let rule = self.columns.iter().map(|column| {
            if column.is_number() {
                " ---: |"
            } else {
                " --- |"
            }
        });
        let mut text = format!(
            "| layer | {} |\n| --- |{}\n",
            titles.join(" | "),
            rule.collect::<String>()
        );
        for (depth, name, cells) in self.rows() {
            let indent = "&emsp;".repeat(depth);
            text += &format!("| {indent}{name} | {} |\n", cells.join(" | "));
        }
        text.push('\n');
        for note in self.notes() {
            text += &format!("- {note}\n");
        }
        text
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let length = |text: &str| text.chars().count();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|n| {
                let cells = rows.iter().map(|(_, _, cells)| length(&cells[n]));
                cells.max().unwrap_or(0).max(self.columns[n].title().len())
            })
            .collect();
        let beside: usize = widths.iter().map(|width| width + 2).sum();
        let names = rows.iter().map(|(depth, name, _)| 2 * depth + length(name));
        let names = names.max().unwrap_or(0).max("layer".len());
        let names = names.min(self.width.saturating_sub(beside).max(12));
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cells: &[&str]| {
            let mut text = match length(name) > names {
                true => name.chars().take(names - 1).chain(['…']).collect(),
                false => name.to_string(),
            };
            text += &" ".repeat(names - length(&text));
            for ((cell, width), column) in cells.iter().zip(&widths).zip(&self.columns) {
                let space = " ".repeat(width - length(cell));
                text += &match column.is_number() {
                    true => format!("  {space}{cell}"),
                    false => format!("  {cell}{space}"),
                };
            }
            writeln!(f, "{}", text.trim_end())
        };
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title()).collect();
        line(f, "layer", &titles)?;
        writeln!(f, "{}", "-".repeat(names + beside))?;
        for (depth, name, cells) in &rows {
            let name = format!("{}{name}", "  ".repeat(*depth));
            let cells: Vec<&str> = cells.iter().map(|cell| &cell[..]).collect();
            line(f, &name, &cells)?;
        }
        writeln!(f, "{}", "-".repeat(names + beside))?;
        for note in self.notes() {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}
