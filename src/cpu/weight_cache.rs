//! [`PreparedWeight`]: a layer's cache of what the kernels derive from its weight.

/// What the kernels derived from the weight of a layer, for its next inference. It is not a part of the layer's state:
/// a clone starts with an empty cache, a record does not contain it, and a call with another weight replaces or drops
/// it.
#[derive(Debug, Default)]
pub(crate) struct PreparedWeight {
    #[cfg(feature = "kernels")]
    pub(super) cache: super::kernels::WeightCache,
}

impl PreparedWeight {
    /// Empties the cache.
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
