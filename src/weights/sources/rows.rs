//! [`Rows`]: a table of names that a program writes.

use crate::weights::Names;

/// The names of the tensors of a part of a network: rows of (path in the module, name in the file), and where the file
/// has fewer or more axes.
#[derive(Default)]
pub(in crate::weights) struct Rows {
    names: Vec<(String, String)>,
    ranks: Vec<(String, usize)>,
}

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// A constant table.
    pub fn of_table(table: &[(&str, &str)]) -> Self {
        let mut rows = Self::new();
        for &(path, name) in table {
            rows.push(path, name);
        }
        rows
    }

    /// One row.
    pub fn push(&mut self, path: impl Into<String>, name: impl Into<String>) {
        self.names.push((path.into(), name.into()));
    }

    /// The convolution at `path` and the norm after it, which are parts of `name`.
    pub fn block(&mut self, path: &str, name: &str, [conv, norm]: [&str; 2]) {
        self.push(format!("{path}.conv"), format!("{name}.{conv}"));
        self.push(format!("{path}.norm"), format!("{name}.{norm}"));
    }

    /// The 1x1 convolution at `path`, which is a linear layer in the file.
    pub fn linear(&mut self, path: &str, name: impl Into<String>) {
        self.push(format!("{path}.conv"), name);
        self.rank(format!("{path}.conv.weight"), 2);
    }

    /// The tensor at `path` has so many axes in the file.
    pub fn rank(&mut self, path: impl Into<String>, rank: usize) {
        self.ranks.push((path.into(), rank));
    }

    /// Adds the rows of a part, whose paths and names begin with these.
    pub fn extend(&mut self, path: &str, name: &str, part: Self) {
        let names = part.names.into_iter();
        self.names.extend(
            names.map(|(end, file_end)| ([path, &end].concat(), [name, &file_end].concat())),
        );
        let ranks = part.ranks.into_iter();
        self.ranks
            .extend(ranks.map(|(end, rank)| ([path, &end].concat(), rank)));
    }

    /// The table.
    pub fn into_names(self) -> Names {
        let names = Names::new(self.names);
        let with_rank = |names: Names, (path, rank): (String, usize)| names.with_rank(&path, rank);
        self.ranks.into_iter().fold(names, with_rank)
    }
}
