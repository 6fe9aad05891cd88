//! The `with_*` methods of the configurations.

/// Writes builder methods: `with_stride(stride: impl Into<PerAxis>)` sets the field `stride`.
///
/// Burn's `#[derive(Config)]` writes such methods too, but reads files that have unknown fields
/// and takes no `impl Into`.
macro_rules! setters {
    (
        $(<$family:ident: $bound:ident>)? $config:ident $(<$argument:ident>)?:
        $($name:ident($field:ident: $kind:ty)),+ $(,)?
    ) => {
        impl$(<$family: $bound>)? $config$(<$argument>)? {
            $(
                #[doc = concat!("Sets the field `", stringify!($field), "`.")]
                #[allow(clippy::useless_conversion)]
                pub fn $name(mut self, $field: $kind) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+
        }
    };
}

pub(crate) use setters;
