//! [`Planner`]: records the layers of a network, or only computes their shapes.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use super::alignment::{merged_grid, misalignments};
use super::op::{AxisPadding, Executor, Op, Parameter};
use super::{Grid, Map, MapPlan, Node, Record};
use crate::shape::{ShapeError, with_channels, with_spatial};

/// The name of a part: a field, an index, or nothing.
///
/// ```
/// use burn_skip::plan::Name;
///
/// assert_eq!(Name::from("conv").to_string(), "conv");
/// assert_eq!(Name::from(3).to_string(), "3");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Name {
    /// The part is its parent's step and no field of it.
    #[default]
    None,
    /// A field.
    Field(&'static str),
    /// An element of a list or a tuple.
    Index(usize),
    /// A path of several.
    Path(String),
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        match name {
            "" => Self::None,
            name => Self::Field(name),
        }
    }
}

impl From<usize> for Name {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<String> for Name {
    fn from(path: String) -> Self {
        Self::Path(path)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Field(name) => f.write_str(name),
            Self::Index(index) => write!(f, "{index}"),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// What a planner does with the layers.
#[derive(Debug)]
enum Mode {
    /// Records every layer. Holds the nodes that are not finished, the outermost first, and whether one of them
    /// has recorded an error.
    Record {
        open: Vec<Node>,
        has_error: bool,
        /// Whether what does nothing at these sizes is recorded.
        every_fit: bool,
    },
    /// Computes shapes only.
    Silent,
    /// Checks options where the spatial sizes are not known: every map has [`ANY_SIZE`].
    AnySize,
}

/// The spatial size of every map while a configuration is checked without an input: larger than any window.
const ANY_SIZE: usize = 1 << 48;

/// Records the layers of a network in the order in which they run; or, silently, computes their shapes.
///
/// # Example
/// ```
/// use burn_skip::{Trace, conv::ConvConfig, plan::{Elementwise, Plan}};
///
/// let conv = ConvConfig::new([8, 8], 3);
/// let plan = Plan::new([1, 8, 32, 32], |planner, x| {
///     let residual = planner.node("Residual", &[x], |planner| {
///         let y = conv.trace(planner.at("conv"), x)?;
///         planner.elementwise(Elementwise::Sum, &["conv", "skip"], &[&y, x], Ok(x.shape))
///     });
///     residual.map(|map| vec![map])
/// });
/// assert_eq!(plan.nodes()[1].0, "conv");
/// ```
#[derive(Debug)]
pub struct Planner {
    mode: Mode,
    name: Name,
    executor: Executor,
    maps: usize,
}

impl Planner {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            name: Name::None,
            executor: Executor::Burn,
            maps: 0,
        }
    }

    /// A planner that records.
    pub(crate) fn recording() -> Self {
        Self::record(false)
    }

    /// A planner that records also the fits of maps that have the wanted size already, so that the parts are the same
    /// for inputs of all sizes.
    #[cfg(feature = "onnx")]
    pub(crate) fn recording_every_fit() -> Self {
        Self::record(true)
    }

    fn record(every_fit: bool) -> Self {
        Self::new(Mode::Record {
            open: vec![Node::new(String::new(), "", Op::Composite)],
            has_error: false,
            every_fit,
        })
    }

    /// Whether a fit that does nothing is recorded.
    pub(crate) fn records_every_fit(&self) -> bool {
        matches!(
            self.mode,
            Mode::Record {
                every_fit: true,
                ..
            }
        )
    }

    /// The recorded root: the one node, or all in a sequence; none if nothing was recorded.
    pub(crate) fn finish(self) -> Option<Node> {
        let Mode::Record { mut open, .. } = self.mode else {
            return None;
        };
        let mut root = open.pop()?;
        if root.children.len() > 1 {
            root.label = "Sequence".into();
            root.inputs = root.children[0].inputs.clone();
            root.outputs = root.children[root.children.len() - 1].outputs.clone();
            return Some(root);
        }
        root.children.pop()
    }

    /// The shape that `trace` gives for an input of shape `input`; nothing is recorded.
    ///
    /// # Errors
    /// As `trace`.
    pub(crate) fn output_shape<const R: usize, const O: usize>(
        input: [usize; R],
        trace: impl FnOnce(&mut Self, &Map<R>) -> Result<Map<O>, ShapeError>,
    ) -> Result<[usize; O], ShapeError> {
        Self::silently(input, trace).map(|map| map.shape)
    }

    /// What `trace` returns for an input of shape `input`; nothing is recorded.
    ///
    /// # Errors
    /// As `trace`.
    pub(crate) fn silently<const R: usize, T>(
        input: [usize; R],
        trace: impl FnOnce(&mut Self, &Map<R>) -> Result<T, ShapeError>,
    ) -> Result<T, ShapeError> {
        let mut planner = Self::new(Mode::Silent);
        let x = planner.map(input, None);
        trace(&mut planner, &x)
    }

    /// As [`output_shape`](Self::output_shape), with several inputs.
    pub(crate) fn output_shape_of_maps<const R: usize, const O: usize>(
        inputs: &[[usize; R]],
        trace: impl FnOnce(&mut Self, &[Map<R>]) -> Result<Map<O>, ShapeError>,
    ) -> Result<[usize; O], ShapeError> {
        let mut planner = Self::new(Mode::Silent);
        let maps: Vec<_> = inputs
            .iter()
            .map(|&input| planner.map(input, None))
            .collect();
        trace(&mut planner, &maps).map(|map| map.shape)
    }

    /// As [`output_shape`](Self::output_shape), with several outputs.
    pub(crate) fn output_shapes<const R: usize>(
        input: [usize; R],
        trace: impl FnOnce(&mut Self, &Map<R>) -> Result<Vec<Map<R>>, ShapeError>,
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        Self::output_shapes_of_maps(&[input], |planner, maps| trace(planner, &maps[0]))
    }

    /// As [`output_shape_of_maps`](Self::output_shape_of_maps), with several outputs.
    pub(crate) fn output_shapes_of_maps<const R: usize>(
        inputs: &[[usize; R]],
        trace: impl FnOnce(&mut Self, &[Map<R>]) -> Result<Vec<Map<R>>, ShapeError>,
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        let mut planner = Self::new(Mode::Silent);
        let maps: Vec<_> = inputs
            .iter()
            .map(|&input| planner.map(input, None))
            .collect();
        let maps = trace(&mut planner, &maps)?;
        Ok(maps.into_iter().map(|map| map.shape).collect())
    }

    /// Checks the options of what `trace` records for inputs with these channels and of any size: sizes are not
    /// compared.
    ///
    /// # Errors
    /// As `trace`, for reasons other than the spatial sizes.
    pub(crate) fn check_options<const R: usize, T>(
        channels: &[usize],
        trace: impl FnOnce(&mut Self, &[Map<R>]) -> Result<T, ShapeError>,
    ) -> Result<(), ShapeError> {
        let mut planner = Self::new(Mode::AnySize);
        let maps: Vec<_> = channels
            .iter()
            .map(|&channels| {
                let mut shape = [1; R];
                shape[1] = channels;
                planner.map(shape, None)
            })
            .collect();
        trace(&mut planner, &maps).map(|_| ())
    }

    /// Whether the spatial sizes are not known, since options are checked without an input. Checks that compare
    /// sizes are skipped then.
    pub(crate) fn is_any_size(&self) -> bool {
        matches!(self.mode, Mode::AnySize)
    }

    /// Names the part that is recorded next, as its field is called.
    pub fn at(&mut self, name: impl Into<Name>) -> &mut Self {
        self.name = name.into();
        self
    }

    /// A new map.
    pub fn map<const R: usize>(
        &mut self,
        mut shape: [usize; R],
        grid: Option<Vec<Grid>>,
    ) -> Map<R> {
        if self.is_any_size() && R > 2 {
            shape = with_spatial(shape, &[ANY_SIZE; R][2..]);
        }
        self.maps += 1;
        Map {
            shape,
            grid,
            id: self.maps - 1,
        }
    }

    /// Records a layer with parts, which `body` records, and one output.
    ///
    /// # Errors
    /// As `body`, with the name of the part.
    pub fn node<const I: usize, const O: usize>(
        &mut self,
        label: &str,
        inputs: &[&Map<I>],
        body: impl FnOnce(&mut Self) -> Result<Map<O>, ShapeError>,
    ) -> Result<Map<O>, ShapeError> {
        let name = self.open(label, Op::Composite, inputs);
        match body(self) {
            Ok(map) => {
                self.close(&[&map]);
                Ok(map)
            }
            Err(error) => Err(self.close_with_error(name, error)),
        }
    }

    /// As [`node`](Self::node), with several outputs.
    ///
    /// # Errors
    /// As `body`, with the name of the part.
    pub fn nodes<const I: usize, const O: usize>(
        &mut self,
        label: &str,
        inputs: &[&Map<I>],
        body: impl FnOnce(&mut Self) -> Result<Vec<Map<O>>, ShapeError>,
    ) -> Result<Vec<Map<O>>, ShapeError> {
        let name = self.open(label, Op::Composite, inputs);
        match body(self) {
            Ok(maps) => {
                let outputs: Vec<&Map<O>> = maps.iter().collect();
                self.close(&outputs);
                Ok(maps)
            }
            Err(error) => Err(self.close_with_error(name, error)),
        }
    }

    /// As [`node`](Self::node), with outputs of several ranks, which `outputs` lists.
    ///
    /// # Errors
    /// As `body`, with the name of the part.
    pub(crate) fn node_of<const I: usize, T>(
        &mut self,
        label: &str,
        inputs: &[&Map<I>],
        body: impl FnOnce(&mut Self) -> Result<T, ShapeError>,
        outputs: impl FnOnce(&T) -> Vec<MapPlan>,
    ) -> Result<T, ShapeError> {
        let name = self.open(label, Op::Composite, inputs);
        match body(self) {
            Ok(output) => {
                let plans = match self.mode {
                    Mode::Record { .. } => outputs(&output),
                    Mode::Silent | Mode::AnySize => Vec::new(),
                };
                self.close_node(plans, None);
                Ok(output)
            }
            Err(error) => Err(self.close_with_error(name, error)),
        }
    }

    /// What a node holds of `maps`, where nodes are recorded.
    fn plans<const R: usize>(&self, maps: &[&Map<R>]) -> Vec<MapPlan> {
        match self.mode {
            Mode::Record { .. } => maps.iter().map(|map| map.plan()).collect(),
            Mode::Silent | Mode::AnySize => Vec::new(),
        }
    }

    /// Opens a node, and takes its name.
    fn open<const R: usize>(&mut self, label: &str, op: Op, inputs: &[&Map<R>]) -> Name {
        let inputs = self.plans(inputs);
        self.open_node(label, op, inputs)
    }

    // (What follows is not generic, so that it is compiled once and not for every layer.)

    fn open_node(&mut self, label: &str, op: Op, inputs: Vec<MapPlan>) -> Name {
        let name = core::mem::take(&mut self.name);
        if let Mode::Record { open, .. } = &mut self.mode {
            let mut node = Node::new(name.to_string(), label, op);
            node.inputs = inputs;
            open.push(node);
        }
        name
    }

    /// Closes the node that was opened last, which outputs `maps`.
    fn close<const R: usize>(&mut self, maps: &[&Map<R>]) {
        let outputs = self.plans(maps);
        self.close_node(outputs, None);
    }

    /// Closes the node that was opened last, which refuses its input, and names it in the error.
    fn close_with_error(&mut self, name: Name, error: ShapeError) -> ShapeError {
        self.close_node(Vec::new(), Some(&error));
        match name {
            Name::None => error,
            name => error.within(name),
        }
    }

    fn close_node(&mut self, outputs: Vec<MapPlan>, error: Option<&ShapeError>) {
        let Mode::Record {
            open, has_error, ..
        } = &mut self.mode
        else {
            return;
        };
        let Some(mut node) = open.pop() else {
            unreachable!("it was opened before")
        };
        node.outputs = outputs;
        // (The innermost part that refuses its input has the error.)
        if let (Some(error), false) = (error, *has_error) {
            node.error = Some(error.to_string());
            *has_error = true;
        }
        if let Some(parent) = open.last_mut() {
            parent.children.push(node);
        }
    }

    /// Writes what a leaf recorded to the node that is open.
    fn write_leaf(
        &mut self,
        op: Op,
        output: &[usize],
        parameters: Vec<Parameter>,
        executor: Executor,
    ) {
        let of_block = self.executor;
        let Mode::Record { open, .. } = &mut self.mode else {
            return;
        };
        if let Some(node) = open.last_mut() {
            let input = node.inputs.first().map_or(&[][..], |map| &map.shape);
            node.mult_adds = op.mult_adds(input, output, &parameters);
            node.op = op;
            node.parameters = parameters;
            node.executor = match of_block {
                Executor::Burn => executor,
                of_block => of_block,
            };
        }
    }

    /// Records a layer without parts.
    ///
    /// # Errors
    /// As `record`, with the name of the part.
    pub fn leaf<const I: usize, const O: usize>(
        &mut self,
        label: &str,
        inputs: &[&Map<I>],
        record: impl FnOnce() -> Result<Record<O>, ShapeError>,
    ) -> Result<Map<O>, ShapeError> {
        let name = self.open(label, Op::Opaque, inputs);
        match record() {
            Ok(record) => {
                self.write_leaf(
                    record.op,
                    &record.output,
                    record.parameters,
                    record.executor,
                );
                let map = self.map(record.output, record.grid);
                self.close(&[&map]);
                Ok(map)
            }
            Err(error) => Err(self.close_with_error(name, error)),
        }
    }

    /// Records a layer of which nothing is known but the shape of its output and the number of its parameters.
    ///
    /// # Errors
    /// That of `output`, with the name of the part.
    pub fn opaque<const R: usize>(
        &mut self,
        label: &str,
        x: &Map<R>,
        parameters: usize,
        output: Result<[usize; R], ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.leaf(label, &[x], || {
            let output = output?;
            let stays = output[2..] == x.shape[2..];
            let grid = x.grid.clone().filter(|_| stays);
            Ok(Record::new(Op::Opaque, output)
                .on_grid(grid)
                .with_parameter("parameters", parameters))
        })
    }

    /// Records the parts of a sequence, named by their indices.
    ///
    /// # Errors
    /// As `trace`, with the path of the part.
    pub fn sequence<const R: usize, T>(
        &mut self,
        parts: impl IntoIterator<Item = T>,
        x: &Map<R>,
        trace: impl Fn(T, &mut Self, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.node("Sequence", &[x], |planner| {
            let mut parts = parts.into_iter().enumerate();
            parts.try_fold(x.clone(), |x, (index, part)| {
                trace(part, planner.at(index), &x)
            })
        })
    }

    /// Records an operation `op` that merges maps of one size into one of shape `output`, and notes where their
    /// positions are misaligned. `names` are what a message calls the maps.
    ///
    /// # Errors
    /// That of `output`.
    pub fn merge<const R: usize>(
        &mut self,
        label: &str,
        op: Op,
        names: &[&str],
        maps: &[&Map<R>],
        output: Result<[usize; R], ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.merge_recorded(label, names, maps, || Ok(Record::new(op, output?)))
    }

    /// As [`merge`](Self::merge), of a merge with parameters.
    pub(crate) fn merge_recorded<const R: usize>(
        &mut self,
        label: &str,
        names: &[&str],
        maps: &[&Map<R>],
        record: impl FnOnce() -> Result<Record<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        let merged = self.leaf(label, maps, || Ok(record()?.on_grid(merged_grid(maps))))?;
        if let Mode::Record { open, .. } = &mut self.mode {
            let merge = open.last_mut().and_then(|node| node.children.last_mut());
            let others = maps.iter().zip(names).skip(1);
            let found =
                others.flat_map(|(other, name)| misalignments([names[0], name], maps[0], other));
            if let Some(merge) = merge {
                merge.misalignments = found.collect();
            }
        }
        Ok(merged)
    }

    /// [Merges](Self::merge) maps value by value.
    ///
    /// # Errors
    /// That of `output`.
    pub fn elementwise<const R: usize>(
        &mut self,
        op: super::Elementwise,
        names: &[&str],
        maps: &[&Map<R>],
        output: Result<[usize; R], ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.merge(op.name(), Op::Elementwise(op), names, maps, output)
    }

    /// Cuts a map down to `count` of its channels, from `start` on.
    ///
    /// # Errors
    /// None: that the map has them is for the layer to check.
    pub(crate) fn slice_of_channels<const R: usize>(
        &mut self,
        x: &Map<R>,
        start: usize,
        count: usize,
    ) -> Result<Map<R>, ShapeError> {
        self.leaf("Slice", &[x], || {
            let mut cut = vec![AxisPadding::default(); R - 1];
            cut[0] = AxisPadding {
                start,
                end: x.shape[1].saturating_sub(start.saturating_add(count)),
            };
            Ok(Record::new(Op::Slice { cut }, with_channels(x.shape, count)).on_grid_of(x))
        })
    }

    /// Records what `body` records as run by this crate's dispatch, each operation by itself, unless what is recorded
    /// now [may be fused](Self::dispatched).
    pub(crate) fn standalone<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        match self.executor {
            Executor::Burn => self.run_by(Executor::Standalone, body),
            _ => body(self),
        }
    }

    /// Records what `body` records as run by this crate's dispatch: its norms, activations and sums may be fused
    /// with the convolution before or after them.
    pub(crate) fn dispatched<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        self.run_by(Executor::Dispatch, body)
    }

    fn run_by<T>(&mut self, executor: Executor, body: impl FnOnce(&mut Self) -> T) -> T {
        let before = core::mem::replace(&mut self.executor, executor);
        let result = body(self);
        self.executor = before;
        result
    }
}
