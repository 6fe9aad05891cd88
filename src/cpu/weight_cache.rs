//! [`PreparedWeight`]: what a layer keeps beside its weight.

/// What the kernels made of the weight of a layer, for its next inference. It is no part of the layer: a clone
/// begins without, a record does not have it, and the next call with another weight replaces or drops it.
#[derive(Debug, Default)]
pub(crate) struct PreparedWeight {
    #[cfg(feature = "kernels")]
    pub(super) cache: super::kernels::WeightCache,
}

impl PreparedWeight {
    /// Forgets it.
    pub(super) fn clear(&self) {
        #[cfg(feature = "kernels")]
        self.cache.clear();
    }
}

impl Clone for PreparedWeight {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(all(test, feature = "kernels"))]
impl PreparedWeight {
    pub(crate) fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}
