//! [`Summary`]: a plan as a table, for a terminal or in Markdown.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use super::column::{Column, with_separators};
use super::{Node, Plan};

/// A table of the layers of a plan. `Display` is for a terminal, [`markdown`](Self::markdown) for a page.
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
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

/// A row of the table.
struct Row {
    depth: usize,
    name: String,
    cells: Vec<String>,
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

    /// Shows children down to this depth; those below are summed up. Default: all.
    pub fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Sets the columns beside the names. Default: output, parameters, multiply-adds.
    pub fn with_columns(mut self, columns: impl Into<Vec<Column>>) -> Self {
        self.columns = columns.into();
        self
    }

    /// Shortens the names so that a line has at most `width` characters, if it can be. Default: no limit.
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        self.add_rows(&self.plan.root, 0, &mut rows);
        rows
    }

    fn add_rows(&self, node: &Node, depth: usize, rows: &mut Vec<Row>) {
        let with_children = node.children.is_empty() || depth >= self.depth;
        let cells = self.columns.iter();
        let cells = cells.map(|column| column.cell(node, with_children));
        let name = match node.name.is_empty() {
            true => node.label.clone(),
            false => format!("{}: {}", node.name, node.label),
        };
        rows.push(Row {
            depth,
            name,
            cells: cells.collect(),
        });
        if depth < self.depth {
            for child in &node.children {
                self.add_rows(child, depth + 1, rows);
            }
        }
    }

    /// The lines below the table: totals, the error, and misaligned feature maps.
    fn notes(&self) -> Vec<String> {
        let root = &self.plan.root;
        let memory = &self.plan.memory;
        let parameters = root.total_parameters();
        let mut notes = vec![
            format!(
                "parameters: {} ({})",
                with_separators(parameters),
                bytes_text(parameters.saturating_mul(4)),
            ),
            format!(
                "mult-adds: {}",
                with_unit(root.total_mult_adds(), 1000, ["", " k", " M", " G", " T"])
            ),
            format!("maps: {}", bytes_text(root.map_bytes())),
            format!(
                "memory: {} in inference, {} in a training step, {} of it saved for the backward pass",
                bytes_text(memory.inference),
                bytes_text(memory.training),
                bytes_text(memory.saved_for_backward),
            ),
        ];
        if let Some(error) = self.plan.error() {
            notes.insert(0, "up to the layer that fails:".to_string());
            notes.push(format!("error: {error}"));
        }
        for (path, found) in self.plan.misalignments() {
            notes.push(format!("note: {path}: {found}"));
        }
        notes
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title()).collect();
        let rule = self.columns.iter().map(|column| match column.is_number() {
            true => " ---: |",
            false => " --- |",
        });
        let mut text = format!(
            "| layer | {} |\n| --- |{}\n",
            titles.join(" | "),
            rule.collect::<String>()
        );
        for Row { depth, name, cells } in self.rows() {
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

/// The widths of the columns of a table for a terminal.
struct Widths<'a> {
    columns: &'a [Column],
    name: usize,
    cells: Vec<usize>,
}

impl<'a> Widths<'a> {
    fn new(summary: &'a Summary, rows: &[Row]) -> Self {
        let columns = &summary.columns[..];
        let cells: Vec<usize> = (0..columns.len())
            .map(|n| {
                let longest = rows.iter().map(|row| length(&row.cells[n])).max();
                longest.unwrap_or(0).max(columns[n].title().len())
            })
            .collect();
        let names = rows.iter().map(|row| 2 * row.depth + length(&row.name));
        let name = names.max().unwrap_or(0).max("layer".len());
        let widths = Self {
            columns,
            name,
            cells,
        };
        let room = summary.width.saturating_sub(widths.beside_name()).max(12);
        Self {
            name: name.min(room),
            ..widths
        }
    }

    fn beside_name(&self) -> usize {
        self.cells.iter().map(|width| width + 2).sum()
    }

    /// A line of the table. Numbers stand at the right of their column.
    fn line<'b>(&self, name: &str, cells: impl Iterator<Item = &'b str>) -> String {
        let mut text = match length(name) > self.name {
            true => name.chars().take(self.name - 1).chain(['…']).collect(),
            false => name.to_string(),
        };
        text += &" ".repeat(self.name - length(&text));
        for ((cell, width), column) in cells.zip(&self.cells).zip(self.columns) {
            let space = " ".repeat(width - length(cell));
            text += &match column.is_number() {
                true => format!("  {space}{cell}"),
                false => format!("  {cell}{space}"),
            };
        }
        text.trim_end().to_string()
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let widths = Widths::new(self, &rows);
        let rule = "-".repeat(widths.name + widths.beside_name());
        let titles = self.columns.iter().map(|column| column.title());
        writeln!(f, "{}", widths.line("layer", titles))?;
        writeln!(f, "{rule}")?;
        for Row { depth, name, cells } in &rows {
            let name = format!("{}{name}", "  ".repeat(*depth));
            let cells = cells.iter().map(|cell| &cell[..]);
            writeln!(f, "{}", widths.line(&name, cells))?;
        }
        writeln!(f, "{rule}")?;
        for note in self.notes() {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn bytes_text(bytes: u64) -> String {
    with_unit(bytes, 1024, [" B", " KiB", " MiB", " GiB", " TiB"])
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
