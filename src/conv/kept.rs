//! [`KeptWeight`]: what a layer keeps beside its weight.

/// What the kernels made of the weight of a layer, for its next inference. It is no part of the layer: a clone
/// begins without, a record does not have it, and another weight replaces it.
#[derive(Debug, Default)]
pub(crate) struct KeptWeight {
    #[cfg(feature = "kernels")]
    pub(super) kept: super::kernel::Kept,
}

impl KeptWeight {
    /// Forgets it.
    pub(super) fn clear(&self) {
        #[cfg(feature = "kernels")]
        self.kept.clear();
    }
}

impl Clone for KeptWeight {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(all(test, feature = "kernels"))]
impl KeptWeight {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
