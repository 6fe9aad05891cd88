//! Loading a file into a module, after everything has been checked.

use std::collections::BTreeSet;

use burn::module::Module;
use burn::store::burn_pack::Tensor as StoredTensor;
use burn::store::{ModuleSnapshot, PyTorchToBurnAdapter, bridge};
use burn::tensor::TensorData;

use super::file::first_line;
use super::layout::{Slot, settle, slots};
use super::report::{AdaptedInput, is_counter};
use super::{Mismatch, Names, Report, WeightsError, WeightsFile};

impl WeightsFile {
    /// Loads every tensor of `module` from the file, under the name that `names` has for it. Half-precision
    /// values are converted to the type of the module's.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, cannot be read, or is not used, or the table has
    /// no name for a tensor of the module. The module is then unchanged. `num_batches_tracked` of
    /// PyTorch's norms is ignored.
    pub fn load_into<M: Module>(
        &self,
        module: &mut M,
        names: &Names,
    ) -> Result<Report, WeightsError> {
        let slots = slots(module, names)?;
        let first = slots.iter().find(|slot| slot.shape.len() > 2);
        let adapted = first
            .filter(|first| names.adapts_input() && !names.ignores(&first.name))
            .and_then(|first| self.adapted(first));
        let (kept, wanted): (Vec<Slot>, Vec<Slot>) = slots
            .into_iter()
            .partition(|slot| names.ignores(&slot.name));
        let file_names: Vec<String> = self.tensors().map(|(name, _)| name.to_string()).collect();
        let all_names = file_names.iter().chain(kept.iter().map(|slot| &slot.name));
        if let Some(prefix) = names.unmatched_prefix(all_names) {
            return Err(WeightsError::UnmatchedPrefix {
                prefix: prefix.to_string(),
            });
        }
        let (values, mut mismatches) = self.values(&wanted, adapted.as_ref());
        let (ignored, unused) = self.others(&wanted, names);
        mismatches.extend(unused);
        if !mismatches.is_empty() {
            return Err(self.mismatch(mismatches));
        }
        settle(module);
        let adapter = Box::new(PyTorchToBurnAdapter);
        let result = module.apply(values, None, Some(adapter), true);
        // (Everything has been checked, so that no error is expected here.)
        if let Some(error) = result.errors.first() {
            return Err(self.mismatch(vec![Mismatch::Values {
                name: String::new(),
                reason: error.to_string(),
            }]));
        }
        let numbers = |slot: &Slot| slot.shape.iter().product::<usize>();
        Ok(Report {
            path: self.path().to_path_buf(),
            values: wanted.iter().map(numbers).sum(),
            loaded: wanted
                .into_iter()
                .map(|slot| (slot.name, slot.path))
                .collect(),
            kept: kept.into_iter().map(|slot| slot.path).collect(),
            ignored,
            adapted,
        })
    }

    fn mismatch(&self, mismatches: Vec<Mismatch>) -> WeightsError {
        WeightsError::Mismatch {
            path: self.path().to_path_buf(),
            mismatches,
        }
    }

    /// The values of these tensors, and those that the file lacks or that cannot be read.
    fn values(
        &self,
        wanted: &[Slot],
        adapted: Option<&AdaptedInput>,
    ) -> (Vec<StoredTensor>, Vec<Mismatch>) {
        let mut values = Vec::with_capacity(wanted.len());
        let mut mismatches = Vec::new();
        for slot in wanted {
            match self.value(slot, adapted.filter(|adapted| adapted.name == slot.name)) {
                Ok(value) => values.push(value),
                Err(mismatch) => mismatches.push(mismatch),
            }
        }
        (values, mismatches)
    }

    /// How the first convolution is adapted, if the file's has another number of input channels, and nothing else differs.
    fn adapted(&self, first: &Slot) -> Option<AdaptedInput> {
        let found = self.shape(&first.name)?;
        let channels = [*found.get(1)?, first.shape[1]];
        let mut fitting = found.to_vec();
        fitting[1] = first.shape[1];
        let is_adapted = fitting == first.shape && channels[0] != channels[1] && channels[0] > 0;
        is_adapted.then(|| AdaptedInput {
            name: first.name.clone(),
            channels,
        })
    }

    /// The names of the file that are ignored, and the tensors that no other of the module's uses.
    fn others(&self, wanted: &[Slot], names: &Names) -> (Vec<String>, Vec<Mismatch>) {
        let used: BTreeSet<&str> = wanted.iter().map(|slot| slot.name.as_str()).collect();
        let copies: BTreeSet<String> = wanted
            .iter()
            .filter_map(|slot| names.copied_name(&slot.name))
            .collect();
        let (ignored, unused): (Vec<_>, Vec<_>) = self
            .tensors()
            .filter(|(name, _)| !used.contains(name))
            .partition(|(name, _)| {
                names.ignores(name) || is_counter(name) || copies.contains(*name)
            });
        let ignored = ignored.into_iter().map(|(name, _)| name.to_string());
        let unused = unused.into_iter().map(|(name, shape)| Mismatch::Unused {
            name: name.to_string(),
            shape: shape.to_vec(),
        });
        (ignored.collect(), unused.collect())
    }

    /// The value of a tensor, read and checked, under the path that Burn's stores use.
    fn value(&self, slot: &Slot, adapted: Option<&AdaptedInput>) -> Result<StoredTensor, Mismatch> {
        let Some(tensor) = self.tensor(&slot.name) else {
            return Err(Mismatch::Missing {
                path: slot.path.clone(),
                name: slot.name.clone(),
                shape: slot.shape.clone(),
            });
        };
        if adapted.is_none() && tensor.shape[..] != slot.shape[..] {
            return Err(Mismatch::Shape {
                path: slot.path.clone(),
                name: slot.name.clone(),
                expected: slot.shape.clone(),
                found: tensor.shape.to_vec(),
            });
        }
        let unreadable = |reason| Mismatch::Values {
            name: slot.name.clone(),
            reason,
        };
        if tensor.dtype.is_float() != slot.dtype.is_float() {
            return Err(unreadable(format!(
                "are {:?}, and {:?} is needed",
                tensor.dtype, slot.dtype
            )));
        }
        let mut tensor = tensor.clone();
        if adapted.is_none() {
            tensor.shape = slot.own_shape.clone().into();
        }
        let data = bridge::to_data(&tensor)
            .map_err(|e| unreadable(format!("cannot be read: {}", first_line(&e.to_string()))))?;
        let data = match adapted {
            Some(adapted) => adapt(data, adapted.channels, &slot.own_shape).map_err(unreadable)?,
            None => data,
        };
        let data = data.convert_dtype(slot.dtype);
        Ok(bridge::from_data(data, slot.burn_path.clone(), None))
    }
}

/// The weight `[out, from, ...]` as one of `shape`, `[out, to, ...]`, by the rule of
/// [`adapting_input`](Names::adapting_input).
fn adapt(data: TensorData, [from, to]: [usize; 2], shape: &[usize]) -> Result<TensorData, String> {
    let values = data.convert::<f64>().try_to_vec::<f64>();
    let values =
        values.map_err(|e| format!("cannot be read: {}", first_line(&format!("{e:?}"))))?;
    let outputs = shape[0];
    let taps: usize = shape[2..].iter().product();
    let mut adapted = Vec::with_capacity(outputs * to * taps);
    for output in 0..outputs {
        let at = |input: usize, tap: usize| values[(output * from + input) * taps + tap];
        for input in 0..to {
            adapted.extend((0..taps).map(|tap| match to {
                1 => (0..from).map(|input| at(input, tap)).sum::<f64>(),
                _ => at(input % from, tap) * from as f64 / to as f64,
            }));
        }
    }
    Ok(TensorData::new(adapted, shape.to_vec()))
}
