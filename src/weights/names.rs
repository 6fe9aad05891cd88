//! [`Names`]: the names of a module's tensors in a file, as a table.

/// The names of a module's tensors in a file of another library: rows of (path in the module, name in the file).
///
/// A row applies to all paths that begin with it; the first row that matches is used, and the rest of
/// the path is kept. `{n}` matches a number, which the name may use with an offset: `{n}`, `{n+1}`,
/// `{3-n}`. Paths are those of the module's fields, without the variants of enums, and end as in
/// PyTorch: `weight`, `bias`, `running_mean`, `running_var`.
///
/// The tables of the sources that this crate knows are in `src/weights/sources`.
///
/// # Example
/// ```
/// use burn_skip::weights::Names;
///
/// let names = Names::new([("stages.{s}.{b}.conv", "layer{s+1}.{b}.conv1"), ("head", "fc")]);
/// assert_eq!(names.external_name("stages.0.3.conv.weight").unwrap(), "layer1.3.conv1.weight");
/// assert_eq!(names.external_name("head.bias").unwrap(), "fc.bias");
/// assert_eq!(names.external_name("stem.bias"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    rows: Vec<(String, String)>,
    ranks: Vec<(String, usize)>,
    ignored: Vec<String>,
    adapts_input: bool,
    copies: Vec<(String, String)>,
}

impl Names {
    /// A table.
    pub fn new<A: ToString, B: ToString>(rows: impl IntoIterator<Item = (A, B)>) -> Self {
        let rows = rows.into_iter();
        Self {
            rows: rows.map(|(a, b)| (a.to_string(), b.to_string())).collect(),
            ranks: Vec::new(),
            ignored: Vec::new(),
            adapts_input: false,
            copies: Vec::new(),
        }
    }

    /// The names of the module itself: for files whose tensors are named as its fields.
    pub fn own() -> Self {
        Self::new([("", "")])
    }

    /// The tensors at the path `path`, a pattern as in a row, have `rank` axes in the file: axes of size 1 are left out
    /// there at the end, or added. For a convolution of kernel 1 that the source has as a linear layer, or a factor of
    /// each channel that it stores as a map.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::Device;
    /// use burn_skip::{block::{ConvNormAct, ConvNormActConfig, ConvStyle}, weights::{Names, WeightsFile, save}};
    ///
    /// let config = ConvNormActConfig::new([2, 3], 1).with_style(ConvStyle::bare());
    /// let layer: ConvNormAct = config.init(&Device::flex());
    /// let names = Names::new([("conv", "linear")]).with_rank("conv.weight", 2);
    /// let path = std::env::temp_dir().join("linear_in_the_docs.safetensors");
    /// save(&layer, &path, &names).unwrap();
    /// let file = WeightsFile::open(&path).unwrap();
    /// assert_eq!(file.shape("linear.weight").unwrap(), [3, 2]); // and [3, 2, 1, 1] in the layer
    /// let mut other: ConvNormAct = config.init(&Device::flex());
    /// file.load_into(&mut other, &names).unwrap();
    /// ```
    pub fn with_rank(mut self, path: &str, rank: usize) -> Self {
        self.ranks.push((path.to_string(), rank));
        self
    }

    /// Ignores the tensors whose name in the file begins with `prefix`: those of the file are not read, and
    /// those of the module keep their values. For a network with other classes than the file's:
    /// `ignoring("fc")`. [`save`](super::save) writes all tensors all the same.
    pub fn ignoring(mut self, prefix: &str) -> Self {
        self.ignored.push(prefix.to_string());
        self
    }

    /// Adapts the weight of the module's first convolution where the file's images have another number of channels, as
    /// segmentation_models.pytorch does for pretrained encoders: of `n` input channels the channel `i` is
    /// `w[:, i mod m] m / n`, with the `m` channels of the file; one channel is the sum over all of the file. The report
    /// says so. Other shapes are refused all the same.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::Device;
    /// use burn_skip::net::{Unet, UnetConfig};
    /// use burn_skip::weights::{Names, WeightsFile};
    ///
    /// // The file is of images of one channel.
    /// let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth").unwrap();
    /// let mut net: Unet = UnetConfig::monai_basic(3, 2, [8, 8, 16, 32, 64, 8]).init(&Device::flex());
    /// assert!(file.load_into(&mut net, &Names::monai_basic_unet()).is_err());
    /// let report = file.load_into(&mut net, &Names::monai_basic_unet().adapting_input()).unwrap();
    /// assert_eq!(report.adapted.unwrap().channels, [1, 3]);
    /// ```
    pub fn adapting_input(mut self) -> Self {
        self.adapts_input = true;
        self
    }

    /// Whether the weight of the first convolution may be adapted.
    pub(super) fn adapts_input(&self) -> bool {
        self.adapts_input
    }

    /// Names tensors a second time: rows of (name in the file, its other name), which apply as the rows of the table do.
    /// For modules of PyTorch that hold a part at two places: their state dicts have its tensors twice.
    /// [`save`](super::save) writes both; of a file that is loaded the second is not read, and may be missing.
    ///
    /// # Example
    /// ```
    /// use burn_skip::weights::Names;
    ///
    /// let names = Names::own().with_copies([("down.{n}", "levels.{n+1}.down")]);
    /// assert_eq!(names.copied_name("down.0.weight").unwrap(), "levels.1.down.weight");
    /// assert_eq!(names.copied_name("up.0.weight"), None);
    /// ```
    pub fn with_copies<A: ToString, B: ToString>(
        mut self,
        rows: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        let rows = rows.into_iter();
        self.copies
            .extend(rows.map(|(a, b)| (a.to_string(), b.to_string())));
        self
    }

    /// The other name in the file of the tensor `name` there, if it has one.
    pub fn copied_name(&self, name: &str) -> Option<String> {
        let mut rows = self.copies.iter();
        rows.find_map(|(pattern, copy)| translate(name, pattern, copy))
    }

    /// Whether some tensors have two names.
    pub(super) fn has_copies(&self) -> bool {
        !self.copies.is_empty()
    }

    /// The name in the file of the tensor `path` of a module, if there is a row for it.
    pub fn external_name(&self, path: &str) -> Option<String> {
        self.rows
            .iter()
            .find_map(|(path_pattern, name)| translate(path, path_pattern, name))
    }

    /// The shape in the file of the tensor `path` of a module, which has the shape `own`.
    pub(super) fn external_shape(&self, path: &str, own: &[usize]) -> Vec<usize> {
        let is_at = |(pattern, _): &&(String, usize)| translate(path, pattern, "").is_some();
        let mut shape = own.to_vec();
        if let Some(&(_, rank)) = self.ranks.iter().find(is_at) {
            let has_ones = own.iter().skip(rank).all(|&size| size == 1);
            if rank > own.len() || has_ones {
                shape.resize(rank, 1);
            }
        }
        shape
    }

    /// A prefix to ignore with which none of the names begins: it must be misspelt.
    pub(super) fn unmatched_prefix<'a>(
        &self,
        names: impl Iterator<Item = &'a String> + Clone,
    ) -> Option<&str> {
        let is_unmatched = |prefix: &&String| {
            names
                .clone()
                .all(|name| after_prefix(name, prefix).is_none())
        };
        self.ignored.iter().find(is_unmatched).map(String::as_str)
    }

    /// Whether a name in the file is to be ignored.
    pub(super) fn ignores(&self, name: &str) -> bool {
        self.ignored
            .iter()
            .any(|prefix| after_prefix(name, prefix).is_some())
    }
}

/// What follows `prefix` in `name`, if it ends there or at a dot.
fn after_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    let ends = prefix.is_empty() || rest.is_empty() || rest.starts_with('.');
    ends.then_some(rest)
}

/// The name of `path` by the row (`pattern`, `template`), if the row matches.
fn translate(path: &str, pattern: &str, template: &str) -> Option<String> {
    let mut numbers = Vec::new();
    let mut rest = path;
    if !pattern.is_empty() {
        for (index, part) in pattern.split('.').enumerate() {
            if index > 0 {
                rest = rest.strip_prefix('.')?;
            }
            let end = rest.find('.').unwrap_or(rest.len());
            let (segment, after) = rest.split_at(end);
            match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                Some(name) => numbers.push((name, segment.parse().ok()?)),
                None if part == segment => {}
                None => return None,
            }
            rest = after;
        }
    }
    let mut name = fill(template, &numbers)?;
    if name.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    name.push_str(rest);
    Some(name)
}

/// `template` with the numbers in its braces.
fn fill(template: &str, numbers: &[(&str, i64)]) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (term, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&evaluate(term, numbers)?.to_string());
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

/// `n`, `n+1`, `3-n`: at most one operation.
fn evaluate(term: &str, numbers: &[(&str, i64)]) -> Option<i64> {
    let value = |text: &str| {
        let known = numbers.iter().find(|(name, _)| *name == text);
        known.map(|&(_, n)| n).or_else(|| text.parse().ok())
    };
    let result = match (term.split_once('+'), term.split_once('-')) {
        (Some((a, b)), _) => value(a)?.checked_add(value(b)?)?,
        (None, Some((a, b))) => value(a)?.checked_sub(value(b)?)?,
        (None, None) => value(term)?,
    };
    (result >= 0).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str, template: &str, path: &str) -> Option<String> {
        Names::new([(pattern, template)]).external_name(path)
    }

    #[test]
    fn a_row_matches_whole_segments() {
        assert_eq!(one("a.b", "x", "a.b.weight").as_deref(), Some("x.weight"));
        assert_eq!(one("a.b", "x", "a.bc.weight"), None);
        assert_eq!(one("a.b", "x", "a"), None);
        assert_eq!(one("a", "", "a.weight").as_deref(), Some("weight"));
        assert_eq!(
            one("", "encoder.", "a.weight").as_deref(),
            Some("encoder.a.weight")
        );
        assert_eq!(
            Names::own().external_name("a.weight").as_deref(),
            Some("a.weight")
        );
    }

    #[test]
    fn numbers_are_used_in_the_name() {
        let row = |path| one("s.{i}.{j}", "b{3-i}.{j+1}.{i}", path);
        assert_eq!(row("s.1.12.bias").as_deref(), Some("b2.13.1.bias"));
        assert_eq!(row("s.4.0.bias"), None); // 3 - 4
        assert_eq!(row("s.x.0.bias"), None);
        assert_eq!(one("s.{i}", "b{k}", "s.1.bias"), None);
    }

    #[test]
    fn axes_of_size_1_are_left_out_or_added() {
        let names = Names::own().with_rank("a.{n}.weight", 2);
        assert_eq!(names.external_shape("a.3.weight", &[4, 5, 1, 1]), [4, 5]);
        assert_eq!(names.external_shape("a.3.weight", &[4]), [4, 1]);
        assert_eq!(names.external_shape("a.3.bias", &[4]), [4]);
        // (Another kernel is no linear layer.)
        assert_eq!(names.external_shape("a.3.weight", &[4, 5, 3]), [4, 5, 3]);
    }

    #[test]
    fn what_is_ignored() {
        let names = Names::own().ignoring("fc").ignoring("layer4.2");
        assert!(names.ignores("fc.weight") && names.ignores("layer4.2.conv1.weight"));
        assert!(!names.ignores("fc2.weight") && !names.ignores("layer4.1.conv1.weight"));
    }
}
