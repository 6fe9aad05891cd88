//! The golden files: cases with inputs, weights, outputs and gradients from PyTorch and Keras.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn_skip::block::ConvNormActConfig;
use burn_skip::conv::{ConvConfig, ConvTransposeConfig};
use burn_skip::down::DownConfig;
use burn_skip::fit::Fit;
use burn_skip::fuse::{AsffConfig, WeightedSumConfig};
use burn_skip::gate::GateConfig;
use burn_skip::merge::Merge;
use burn_skip::neck::{BiFpnConfig, HrFuseConfig, PaFpnConfig};
use burn_skip::norm::NormConfig;
use burn_skip::pool::PoolConfig;
use burn_skip::resize::ResizeMode;
use burn_skip::up::UpConfig;
use burn_skip::{SkipAddConfig, SkipConcatConfig, UpsampleConcatConfig};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// The folder of the golden files: that of `GOLDEN_DIR`, or the one in the repository.
pub fn folder() -> PathBuf {
    match std::env::var_os("GOLDEN_DIR") {
        Some(folder) => folder.into(),
        None => in_the_repository(),
    }
}

/// The folder of the golden files of one kind: in [`folder`] if that has it, or in the repository, so
/// that a folder of layers alone can be tried.
#[allow(dead_code)] // not every test has a kind of its own
pub fn folder_of(kind: &str) -> PathBuf {
    let own = folder().join(kind);
    match own.is_dir() {
        true => own,
        false => in_the_repository().join(kind),
    }
}

fn in_the_repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A layer with its options, as the generator drew them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum LayerCase {
    Resize {
        mode: ResizeMode,
        size: Vec<usize>,
    },
    Fit {
        fit: Fit,
        size: Vec<usize>,
    },
    Pool(PoolConfig),
    Merge(Merge),
    WeightedSum(WeightedSumConfig),
    Asff(AsffConfig),
    PaFpn {
        config: PaFpnConfig,
        channels: Vec<usize>,
    },
    BiFpn {
        config: BiFpnConfig,
        channels: Vec<usize>,
    },
    HrFuse {
        config: HrFuseConfig,
        channels: Vec<usize>,
    },
    Conv(ConvConfig),
    ConvTranspose {
        config: ConvTransposeConfig,
        size: Option<Vec<usize>>,
    },
    Up {
        up: UpConfig,
        channels: [usize; 2],
        size: Option<Vec<usize>>,
    },
    Down {
        down: DownConfig,
        channels: usize,
    },
    ConvNormAct(ConvNormActConfig),
    SkipAdd {
        config: SkipAddConfig,
        block: Vec<ConvNormActConfig>,
    },
    SkipConcat {
        config: SkipConcatConfig,
        block: Vec<ConvNormActConfig>,
    },
    UpsampleConcat(UpsampleConcatConfig),
    BatchNorm {
        norm: NormConfig,
        channels: usize,
    },
    FlattenPadReshape {
        size: [usize; 2],
    },
    Gate {
        gate: GateConfig,
        channels: usize,
        guide_channels: usize,
    },
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// The rank of the maps.
    pub rank: usize,
    /// Whether norms use the statistics of the batch.
    pub train: bool,
    pub layer: LayerCase,
}

/// A tensor of a golden file.
#[derive(Clone, Debug)]
pub struct Golden {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// The tensors of a golden file, or of one case, by name.
pub type Tensors = HashMap<String, Golden>;

/// The cases of one file, each with its tensors.
pub struct Group {
    pub name: String,
    pub cases: Vec<(Case, Tensors)>,
}

/// Reads a safetensors file of floats: its metadata and its tensors.
pub fn read(path: &Path) -> (HashMap<String, String>, Tensors) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let floats = view.data().chunks_exact(4);
        let golden = Golden {
            shape: view.shape().to_vec(),
            data: floats
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        };
        (name, golden)
    });
    (metadata, tensors.collect())
}

/// All groups of the folder.
pub fn groups() -> Vec<Group> {
    let folder = folder();
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    files.iter().map(|path| group(path)).collect()
}

fn group(path: &Path) -> Group {
    let (metadata, mut tensors) = read(path);
    let cases: Vec<Case> = serde_json::from_str(&metadata["cases"])
        .unwrap_or_else(|e| panic!("{}: the cases: {e}", path.display()));
    let mut of_case: HashMap<String, Tensors> = HashMap::new();
    for (name, golden) in tensors.drain() {
        let mut parts = name.splitn(3, '/');
        let case = [parts.next(), parts.next()].map(|part| part.expect("group/case/tensor"));
        let tensor = parts.next().expect("group/case/tensor").to_string();
        of_case
            .entry(case.join("/"))
            .or_default()
            .insert(tensor, golden);
    }
    let with_tensors = |case: Case| {
        let tensors = of_case.remove(&case.name).expect("tensors for every case");
        (case, tensors)
    };
    Group {
        name: path.file_stem().expect("a name").to_string_lossy().into(),
        cases: cases.into_iter().map(with_tensors).collect(),
    }
}
