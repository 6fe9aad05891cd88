//! [`Advice`]: what to change where an input does not fit, or where feature maps are misaligned.

use alloc::{format, string::String, vec, vec::Vec};
use core::fmt;

use serde::{Serialize, Serializer};

use super::{NetConfig, UnetConfig};
use crate::fuse::fit::{Fit, Target};
use crate::layers::resize::{ResizeMode, Sampling};
use crate::layers::up::UpConfig;
use crate::plan::Plan;

/// How many positions away from the input's size another size is searched, on each axis.
const MAX_DISTANCE: usize = 128;

/// How many pieces of advice are given.
const MAX_ADVICE: usize = 6;

/// A change of the network or of its input. `Display` writes it as the option and its value: `decoder.fit: crop`.
///
/// # Example
/// ```
/// use burn_skip::{net::{Change, NetConfig, UnetConfig}, up::UpConfig};
///
/// let net = UnetConfig::new(3, 2, vec![4, 8, 16]).with_up(UpConfig::pixel_shuffle());
/// let advice = NetConfig::Unet(net).advice(&[1, 3, 45, 60]);
/// let is_input = |change: &Change| matches!(change, Change::Input(_));
/// assert!(advice.iter().any(|advice| advice.changes.iter().any(is_input)));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// How the decoder upsamples the deep maps.
    Up {
        /// The new value of `decoder.up`.
        up: UpConfig,
        /// Whether `decoder.up_channels` is removed, since this enlargement may not give these channels.
        removes_up_channels: bool,
    },
    /// How the decoder fits the maps to one size.
    Fit {
        /// The new value of `decoder.fit`.
        fit: Fit,
        /// The new value of `decoder.target`, if it changes.
        target: Option<Target>,
    },
    /// The shape of the input.
    Input(Vec<usize>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up {
                up,
                removes_up_channels,
            } => {
                write!(f, "decoder.up: {}", up_name(up))?;
                match removes_up_channels {
                    true => write!(f, ", decoder.up_channels: null"),
                    false => Ok(()),
                }
            }
            Self::Fit { fit, target } => {
                write!(f, "decoder.fit: {}", fit_name(fit))?;
                match target {
                    Some(target) => write!(f, ", decoder.target: {target:?}"),
                    None => Ok(()),
                }
            }
            Self::Input(shape) => {
                let axes: Vec<String> = shape.iter().map(|axis| format!("{axis}")).collect();
                write!(f, "input: {}", axes.join("x"))
            }
        }
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn up_name(up: &UpConfig) -> &'static str {
    match up {
        UpConfig::Resize { mode, .. } => match mode {
            ResizeMode::Nearest | ResizeMode::NearestExact => "nearest",
            ResizeMode::Linear(Sampling::AlignCorners) => "linear, align-corners",
            ResizeMode::Linear(_) => "linear",
            ResizeMode::Cubic(_) => "cubic",
            ResizeMode::Area => "area",
        },
        UpConfig::ConvTranspose { .. } => "transposed convolution",
        UpConfig::PixelShuffle { .. } => "pixel shuffle",
        UpConfig::Carafe { .. } => "CARAFE",
    }
}

const fn fit_name(fit: &Fit) -> &'static str {
    match fit {
        Fit::Exact => "exact",
        Fit::Resize(_) => "resize",
        Fit::Pad { .. } => "pad",
        Fit::Crop { .. } => "crop",
        Fit::PadOrCrop { .. } => "pad or crop",
        Fit::Pool(_) => "pool",
    }
}

/// Changes that have been tried on a plan: with them the input fits. And what they cost.
///
/// # Example
/// ```
/// use burn_skip::{net::{Change, NetConfig, UnetConfig}, up::UpConfig};
///
/// // Pixel shuffles double: the height of 45 does not fit.
/// let net = UnetConfig::new(3, 2, vec![4, 8, 16]).with_up(UpConfig::pixel_shuffle());
/// let advice = NetConfig::Unet(net).advice(&[1, 3, 45, 60]);
/// let input = [Change::Input(vec![1, 3, 44, 60])];
/// let smaller = advice.iter().find(|advice| advice.changes == input).unwrap();
/// assert_eq!(smaller.changes[0].to_string(), "input: 1x3x44x60");
/// let plan = smaller.net.plan(&smaller.input).unwrap();
/// assert_eq!(plan.root.outputs[0].shape, [1, 2, 44, 60]);
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// What is changed.
    pub changes: Vec<Change>,
    /// The changed network.
    pub net: NetConfig,
    /// The changed shape of the input.
    pub input: Vec<usize>,
    /// The multiply-adds with the changes.
    pub mult_adds: u64,
    /// How many merges of misaligned feature maps are left.
    pub misalignments: usize,
}

/// A network with one option changed, or as it is.
struct Variant {
    change: Option<Change>,
    net: NetConfig,
}

impl NetConfig {
    /// Changes with which an input of shape `input` fits; or, where it fits already, with which no feature maps that
    /// are merged are misaligned. The fewest changes come first, and of these the cheapest. The list is empty where
    /// nothing is wrong, or nothing that is tried helps.
    ///
    /// Tried are other fits and other enlargements of a decoder, and the nearest input sizes, up to 128 positions away
    /// on each axis.
    pub fn advice(&self, input: &[usize]) -> Vec<Advice> {
        let Ok(plan) = self.plan(input) else {
            return Vec::new();
        };
        let fits = plan.error().is_none();
        if fits && plan.misalignments().is_empty() {
            return Vec::new();
        }
        let helps =
            |plan: &Plan| plan.error().is_none() && (!fits || plan.misalignments().is_empty());
        let mut found = Vec::new();
        for Variant { change, net } in self.variants() {
            let mut inputs = vec![input.to_vec()];
            // (With another fit the input need not change too.)
            if !matches!(change, Some(Change::Fit { .. })) {
                inputs.extend(nearest_sizes(&net, input, helps));
            }
            for size in inputs {
                let Some(plan) = net.plan(&size).ok().filter(helps) else {
                    continue;
                };
                let of_input = (size != input).then(|| Change::Input(size.clone()));
                found.push(Advice {
                    changes: change.iter().cloned().chain(of_input).collect(),
                    net: net.clone(),
                    input: size,
                    mult_adds: plan.root.total_mult_adds(),
                    misalignments: plan.misalignments().len(),
                });
            }
        }
        found.sort_by_key(|advice| (advice.changes.len(), advice.mult_adds));
        found.truncate(MAX_ADVICE);
        found
    }

    /// The network itself, and it with one option changed.
    fn variants(&self) -> Vec<Variant> {
        let mut variants = vec![Variant {
            change: None,
            net: self.clone(),
        }];
        if let Self::Unet(config) = self {
            variants.extend(up_variants(config));
            variants.extend(fit_variants(config));
        }
        variants
    }
}

fn up_variants(config: &UnetConfig) -> impl Iterator<Item = Variant> {
    let ups = [
        UpConfig::nearest(),
        UpConfig::linear(),
        UpConfig::resize(ResizeMode::Linear(Sampling::AlignCorners)),
        UpConfig::conv_transpose(),
    ];
    let others = ups.into_iter().filter(|up| *up != config.decoder.up);
    others.map(|up| {
        let mut net = config.clone().with_up(up.clone());
        net.decoder.up_channels = None;
        Variant {
            change: Some(Change::Up {
                up,
                removes_up_channels: config.decoder.up_channels.is_some(),
            }),
            net: NetConfig::Unet(net),
        }
    })
}

fn fit_variants(config: &UnetConfig) -> impl Iterator<Item = Variant> {
    let fits = [
        Fit::Resize(ResizeMode::linear()),
        Fit::pad(),
        Fit::crop(),
        Fit::pad_or_crop(),
    ];
    let targets = [Target::Skip, Target::Deep];
    let both = fits
        .into_iter()
        .flat_map(move |fit| targets.clone().map(|target| (fit.clone(), target)));
    both.map(|(fit, target)| {
        let net = config.clone().with_fit(fit.clone());
        let is_new = target != config.decoder.target;
        Variant {
            net: NetConfig::Unet(net.with_target(target.clone())),
            change: Some(Change::Fit {
                fit,
                target: is_new.then_some(target),
            }),
        }
    })
}

/// The next larger and the next smaller input that helps, searched on each axis on its own.
fn nearest_sizes(
    net: &NetConfig,
    input: &[usize],
    helps: impl Fn(&Plan) -> bool,
) -> Vec<Vec<usize>> {
    let works = |input: &[usize]| net.plan(input).is_ok_and(|plan| helps(&plan));
    let with = |size: usize| [&input[..2], &vec![size; input.len() - 2]].concat();
    let most = input[2..].iter().copied().max().unwrap_or(0);
    // Each axis is searched from a size at which the others work.
    let Some(base) = (most..=most.saturating_add(MAX_DISTANCE))
        .map(with)
        .find(|input| works(input))
    else {
        return Vec::new();
    };
    let (mut smaller, mut larger) = (input.to_vec(), input.to_vec());
    for axis in 2..input.len() {
        let at = input[axis];
        let on_axis = |size: &usize| {
            let mut input = base.clone();
            input[axis] = *size;
            works(&input)
        };
        let below = (at.saturating_sub(MAX_DISTANCE).max(1)..=at)
            .rev()
            .find(on_axis);
        let above = (at..=at.saturating_add(MAX_DISTANCE)).find(on_axis);
        smaller[axis] = below.unwrap_or(0);
        larger[axis] = above.unwrap_or(0);
    }
    let mut sizes = vec![larger, smaller];
    sizes.retain(|size| size != input && works(size));
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{EncoderConfig, ResNetEncoderConfig};
    use alloc::string::ToString;

    fn texts(advice: &[Advice]) -> Vec<String> {
        advice
            .iter()
            .map(|advice| {
                let changes: Vec<String> = advice.changes.iter().map(ToString::to_string).collect();
                changes.join("; ")
            })
            .collect()
    }

    /// Applies every piece of advice and checks that it works.
    fn follow(advice: &[Advice]) {
        assert!(!advice.is_empty());
        for advice in advice {
            let plan = advice.net.plan(&advice.input).unwrap();
            assert!(plan.error().is_none(), "{:?}", advice.changes);
            assert_eq!(plan.root.total_mult_adds(), advice.mult_adds);
            assert_eq!(plan.misalignments().len(), advice.misalignments);
        }
    }

    #[test]
    fn a_size_that_does_not_fit_is_answered_with_sizes_and_fits() {
        let net = UnetConfig::new(3, 2, vec![4, 8, 16]).with_up(UpConfig::pixel_shuffle());
        let advice = NetConfig::Unet(net).advice(&[1, 3, 45, 60]);
        follow(&advice);
        let texts = texts(&advice);
        assert!(texts.contains(&"input: 1x3x44x60".into()), "{texts:?}");
        assert!(
            texts.contains(&"decoder.fit: crop, decoder.target: Deep".into()),
            "{texts:?}"
        );
    }

    #[test]
    fn half_a_position_is_answered_with_what_aligns() {
        let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(4));
        let net = NetConfig::Unet(UnetConfig::smp(encoder, 2));
        let advice = net.advice(&[1, 3, 64, 64]);
        follow(&advice);
        assert!(advice.iter().all(|advice| advice.misalignments == 0));
        let texts = texts(&advice);
        assert!(
            texts.contains(&"decoder.up: linear, align-corners; input: 1x3x65x65".into()),
            "{texts:?}"
        );
        // A plain U-Net needs sizes that its pools divide.
        let net = NetConfig::Unet(UnetConfig::new(3, 2, vec![4, 8, 16]));
        let advice = net.advice(&[1, 3, 255, 130]);
        follow(&advice);
        assert!(self::texts(&advice).contains(&"input: 1x3x252x128".into()));
    }

    #[test]
    fn a_change_names_every_option_that_it_changes() {
        let net = UnetConfig::monai_basic(1, 2, [4, 4, 8, 8, 16, 4]);
        let ups: Vec<_> = up_variants(&net).collect();
        assert_eq!(ups.len(), 3);
        for Variant { change, net } in ups {
            let NetConfig::Unet(net) = net else {
                unreachable!("it is a U-Net")
            };
            assert!(net.decoder.up_channels.is_none());
            let text = change.unwrap().to_string();
            assert!(text.ends_with(", decoder.up_channels: null"), "{text}");
        }
    }

    #[test]
    fn there_is_no_advice_where_nothing_is_wrong_or_nothing_helps() {
        let net = NetConfig::Unet(UnetConfig::new(3, 2, vec![4, 8, 16]));
        assert!(net.advice(&[1, 3, 64, 64]).is_empty());
        assert!(
            net.advice(&[1, 4, 64, 64]).is_empty(),
            "the channels differ"
        );
        assert!(net.advice(&[1, 3]).is_empty());
    }
}
