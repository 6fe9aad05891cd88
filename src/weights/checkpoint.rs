//! The state dict among the tensors of a checkpoint.

use std::collections::BTreeMap;

use burn::store::burn_pack::Tensor as StoredTensor;

/// Where training programs keep the state dict, beside the state of the training.
const PLACES: [&str; 4] = ["state_dict.", "model_state_dict.", "model_state.", "model."];

/// The names beside `model` that belong to the training; any other may belong to the network.
const OF_TRAINING: [&str; 4] = ["optim", "lr_scheduler", "scheduler", "scaler"];

/// The prefixes that wrappers of a whole network add: Lightning, `DataParallel`, `torch.compile`.
const PREFIXES: [&str; 3] = ["model.", "module.", "_orig_mod."];

/// With which names of a network begin whose own layers are under `model`: MONAI's `UNet` and `AttentionUnet`.
const OF_MODEL: &str = "model.1.submodule.";

/// The state dict among the tensors of a file, without prefixes that all names share.
pub(super) fn state_dict(
    mut tensors: BTreeMap<String, StoredTensor>,
) -> BTreeMap<String, StoredTensor> {
    let beside_is_training = |place: &str| {
        let mut beside = tensors.keys().filter(|name| !name.starts_with(place));
        beside.all(|name| OF_TRAINING.iter().any(|part| name.starts_with(part)))
    };
    let is_place = |place: &&&str| {
        let holds_any = tensors.keys().any(|name| name.starts_with(**place));
        let has_model = tensors.keys().any(|name| name.starts_with(OF_MODEL));
        holds_any && (**place != "model." || (!has_model && beside_is_training(place)))
    };
    if let Some(place) = PLACES.iter().find(is_place) {
        tensors = under(tensors, place);
    }
    let before_all = |tensors: &BTreeMap<String, StoredTensor>| {
        if tensors.keys().any(|name| name.starts_with(OF_MODEL)) {
            return None;
        }
        let before = |prefix: &&&str| tensors.keys().all(|name| name.starts_with(**prefix));
        PREFIXES.iter().filter(|_| !tensors.is_empty()).find(before)
    };
    while let Some(prefix) = before_all(&tensors) {
        tensors = under(tensors, prefix);
    }
    tensors
}

/// The tensors whose name begins with `prefix`, without it.
pub(super) fn under(
    tensors: BTreeMap<String, StoredTensor>,
    prefix: &str,
) -> BTreeMap<String, StoredTensor> {
    let named = tensors.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(prefix)?.to_string();
        Some((name, tensor))
    });
    named.collect()
}
