//! `--weights`: the weights that a training starts from.

use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use burn_skip::net::AnySegmentationModel;
use burn_skip::weights::{Architecture, Mismatch, Names, Report, WeightsError, WeightsFile};
use serde::Serialize;

use super::kept_weights::KeptWeights;
use super::run_folder::RunFolder;
use crate::Result;
use crate::segmentation::trained;

/// What was loaded from a file, and what was not.
#[derive(Clone, Debug, Serialize)]
pub struct InitialWeights {
    file: PathBuf,
    /// Whether the decoder was loaded, too.
    whole: bool,
    /// How many tensors were loaded.
    tensors: usize,
    /// How many of the file were not read.
    ignored: usize,
    /// Heads that keep their initial values.
    initial: Vec<String>,
    /// How the first convolution was adapted, if it was.
    adapted: Option<String>,
}

impl InitialWeights {
    /// Loads the whole network from a file, or where that is of another network with the same encoder, the encoder.
    ///
    /// # Errors
    /// When the file cannot be read, or has no such encoder. The network then stays as it is.
    pub fn load<const R: usize>(net: &mut AnySegmentationModel<R>, path: &Path) -> Result<Self> {
        if path.is_dir() || path.extension().is_some_and(|ending| ending == "bpk") {
            return Self::of_training(net, path);
        }
        let file = WeightsFile::open(path).map_err(|e| format!("--weights: {e}"))?;
        let mut errors = Vec::new();
        for names in tables(net, &file) {
            let (names, initial) = without_other_heads(net, &file, names);
            match file.load_into(net, &names) {
                Ok(report) => return Ok(Self::new(report, true, initial)),
                Err(error) => errors.push(error),
            }
        }
        // (The encoder of an own file has own names.)
        let own = file
            .clone()
            .under("encoder")
            .and_then(|part| part.load_into(&mut net.encoder, &Names::own().adapting_input()));
        let encoder = match own {
            Ok(mut report) => {
                let in_encoder = |name: &str| name.starts_with("encoder.");
                let others = file.tensors().map(|(name, _)| name);
                let others = others.filter(|name| !in_encoder(name)).map(String::from);
                report.ignored.extend(others);
                Ok(report)
            }
            Err(error) => {
                errors.push(error);
                net.load_encoder(&file)
            }
        };
        match encoder {
            Ok(report) => {
                let initial = vec!["the decoder".into(), "the head".into()];
                Ok(Self::new(report, false, initial))
            }
            Err(error) => {
                errors.push(error);
                Err(of_another_network(path, &errors).into())
            }
        }
    }

    /// Loads what another training of the same network left: a file, or the best epoch in its folder.
    fn of_training<const R: usize>(net: &mut AnySegmentationModel<R>, path: &Path) -> Result<Self> {
        let folder = RunFolder::new(path);
        let file = match path.is_dir() {
            true => KeptWeights::find(&folder, false)?.map_or(folder.model(), |kept| kept.file),
            false => path.to_path_buf(),
        };
        let loaded = trained::load_trained::<R>(&net.config(), &Device::flex(), &file);
        let loaded = loaded.map_err(|e| {
            let e = e.to_string();
            let e = e.trim_end_matches('.');
            format!("--weights: {e}. Of another network, `burn-skip export` writes a file whose encoder can be loaded.")
        })?;
        *net = net.clone().load_record(loaded.net.into_record());
        Ok(Self {
            file,
            whole: true,
            tensors: trained::shapes(net).len(),
            ignored: 0,
            initial: Vec::new(),
            adapted: None,
        })
    }

    fn new(report: Report, whole: bool, initial: Vec<String>) -> Self {
        let is_counter = |name: &&String| name.ends_with("num_batches_tracked");
        Self {
            file: report.path,
            whole,
            tensors: report.loaded.len(),
            ignored: report
                .ignored
                .iter()
                .filter(|name| !is_counter(name))
                .count(),
            initial,
            adapted: report.adapted.map(|adapted| adapted.to_string()),
        }
    }
}

/// `weights of unet.pth: the whole network, 82 tensors; the head keeps its initial values; ...`
impl fmt::Display for InitialWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.whole, self.initial.is_empty()) {
            (false, _) => "the encoder",
            (true, true) => "the whole network",
            (true, false) => "the network without a head",
        };
        let (file, tensors) = (self.file.display(), self.tensors);
        write!(f, "weights of {file}: {what}, {tensors} tensors")?;
        if let Some(adapted) = &self.adapted {
            write!(f, "; {adapted}")?;
        }
        match &self.initial[..] {
            [] => {}
            [one] => write!(f, "; {one} keeps its initial values")?,
            several => write!(f, "; {} keep their initial values", several.join(" and "))?,
        }
        if self.ignored > 0 {
            write!(f, "; {} tensors of the file are not used", self.ignored)?;
        }
        Ok(())
    }
}

/// The tables of names under which a file may have the whole network.
fn tables<const R: usize>(net: &AnySegmentationModel<R>, file: &WeightsFile) -> Vec<Names> {
    let detected = Architecture::detect(file).and_then(|found| match found {
        Architecture::Torchvision(_) | Architecture::Timm(_) => None,
        found => Some(found.names()),
    });
    let tables = [detected, Names::smp(&net.config()), Some(Names::own())];
    let tables = tables.into_iter().flatten();
    tables.map(Names::adapting_input).collect()
}

/// The table without the heads that are for other classes in the file, or are not in both; and which these are.
fn without_other_heads<const R: usize>(
    net: &AnySegmentationModel<R>,
    file: &WeightsFile,
    mut names: Names,
) -> (Names, Vec<String>) {
    let classes = net.config().out_channels;
    let supervision = (0..net.supervision_heads.len()).map(|n| {
        let shown = format!("the head of coarser step {}", n + 1);
        (format!("supervision_heads.{n}"), shown)
    });
    let heads = std::iter::once(("head".to_string(), "the head".to_string())).chain(supervision);
    let mut initial = Vec::new();
    for (head, shown) in heads {
        let Some(name) = names.external_name(&head) else {
            continue;
        };
        let weight = file.shape(&format!("{name}.weight"));
        if weight.and_then(|shape| shape.first()) != Some(&classes) {
            names = names.ignoring(&name);
            initial.push(shown);
        }
    }
    (names, initial)
}

/// The error of the attempt that came closest, in one line.
fn of_another_network(path: &Path, errors: &[WeightsError]) -> String {
    let mismatches = errors.iter().filter_map(|error| match error {
        WeightsError::Mismatch { mismatches, .. } => Some(mismatches),
        _ => None,
    });
    let closest = mismatches.min_by_key(|mismatches| mismatches.len());
    let reason = match closest.map(Vec::as_slice) {
        Some([first, others @ ..]) => {
            let more = match others.len() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            format!(": {}{more}", described(first))
        }
        _ => String::new(),
    };
    format!(
        "--weights: {} is of another network, and of another encoder{reason}. Name the network that it belongs to.",
        path.display()
    )
}

fn described(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Missing { name, .. } => format!("it has no {name}"),
        Mismatch::Unused { name, .. } => format!("the network has no {name}"),
        other => other.to_string(),
    }
}
