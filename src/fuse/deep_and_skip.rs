//! The methods of the configurations of fusions of a deep map and a skip.

/// Writes the methods that follow from `trace(planner, deep, skip)`. After the name of the configuration come its
/// fields with the channels of both maps.
macro_rules! deep_and_skip_methods {
    ($config:ident: [$deep:ident, $skip:ident]) => {
        impl $config {
            /// Checks the options for maps of rank `R`.
            ///
            /// # Errors
            /// When a number is zero, or a part is invalid.
            pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
                let channels = [self.$deep, self.$skip];
                Planner::check_options(&channels, |planner, maps: &[Map<R>]| {
                    self.trace(planner, &maps[0], &maps[1])
                })
            }

            /// The shape of the output for maps of shapes `deep` and `skip`.
            ///
            /// # Errors
            /// As [`validate`](Self::validate), and when the maps do not fit the layer or each other: in their channels
            /// or batches, an empty axis, or sizes that cannot be made equal.
            pub fn output_shape<const R: usize>(
                &self,
                deep: [usize; R],
                skip: [usize; R],
            ) -> Result<[usize; R], ShapeError> {
                Planner::output_shape_of_maps(&[deep, skip], |planner, maps| {
                    self.trace(planner, &maps[0], &maps[1])
                })
            }

            /// The [plan](crate::plan) for maps of shapes `deep` and `skip`.
            pub fn plan<const R: usize>(&self, deep: [usize; R], skip: [usize; R]) -> Plan {
                Plan::of_maps(&[deep, skip], |planner, maps| {
                    let map = self.trace(planner, &maps[0], &maps[1])?;
                    Ok(Vec::from([map]))
                })
            }
        }
    };
}

pub(super) use deep_and_skip_methods;
