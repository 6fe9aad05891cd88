//! [`Advice`]: what to change where an input does not fit, or where maps do not lie on each other.

use alloc::{format, string::String, vec, vec::Vec};

use serde::Serialize;

use super::{NetConfig, UnetConfig};
use crate::fuse::fit::{Fit, Target};
use crate::layers::resize::{ResizeMode, Sampling};
use crate::layers::up::UpConfig;
use crate::plan::Plan;

/// How far from the size of the input another size is looked for.
const FAR: usize = 128;

/// How many changes are named.
const MOST: usize = 6;

/// A change, and what it costs. It has been tried on a plan: once followed, it works.
///
/// # Example
/// ```
/// use burn_skip::{net::{NetConfig, UnetConfig}, up::UpConfig};
///
/// // Pixel shuffles double: the height of 45 does not fit.
/// let net = UnetConfig::new(3, 2, vec![4, 8, 16]).with_up(UpConfig::pixel_shuffle());
/// let advice = NetConfig::Unet(net).advice(&[1, 3, 45, 60]);
/// let smaller = advice.iter().find(|advice| advice.changes == ["input: 1x3x44x60"]).unwrap();
/// let plan = smaller.net.plan(&smaller.input).unwrap();
/// assert_eq!(plan.root.outputs[0].shape, [1, 2, 44, 60]);
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// What is changed, one entry a change: an option of the network, or the input.
    pub changes: Vec<String>,
    /// The network after it.
    pub net: NetConfig,
    /// The shape of the input after it.
    pub input: Vec<usize>,
    /// The multiply-adds after it.
    pub mult_adds: u64,
    /// How many merges there still are of maps that do not lie on each other.
    pub misalignments: usize,
}

impl NetConfig {
    /// Changes after which an input of shape `input` fits; or, where it fits, after which all maps that are merged
    /// lie on each other. The fewest changes come first, and of these the cheapest. There are none where
    /// nothing is wrong, or nothing that is known here helps.
    ///
    /// What is tried: other fits and enlargements of a decoder, and the nearest sizes, an axis each, up to 128
    /// positions away.
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
        for (changes, net) in self.variants() {
            let mut inputs = vec![(None, input.to_vec())];
            // (Fits of another size than the one given do not need another size.)
            if changes
                .iter()
                .all(|change: &String| !change.starts_with("decoder.fit"))
            {
                let sizes = nearest_sizes(&net, input, helps);
                inputs.extend(
                    sizes
                        .into_iter()
                        .map(|size| (Some(input_change(&size)), size)),
                );
            }
            for (of_input, input) in inputs {
                let Ok(plan) = net.plan(&input) else { continue };
                if helps(&plan) {
                    found.push(Advice {
                        changes: changes.iter().cloned().chain(of_input).collect(),
                        net: net.clone(),
                        input,
                        mult_adds: plan.root.total_mult_adds(),
                        misalignments: plan.misalignments().len(),
                    });
                }
            }
        }
        found.sort_by_key(|advice| (advice.changes.len(), advice.mult_adds));
        found.truncate(MOST);
        found
    }

    /// The network itself, and it with one option changed.
    fn variants(&self) -> Vec<(Vec<String>, Self)> {
        let mut variants = vec![(Vec::new(), self.clone())];
        if let Self::Unet(config) = self {
            let others = unet_variants(config).into_iter();
            variants.extend(others.map(|(change, net)| (vec![change], Self::Unet(net))));
        }
        variants
    }
}

fn unet_variants(config: &UnetConfig) -> Vec<(String, UnetConfig)> {
    let linear = |sampling| UpConfig::resize(ResizeMode::Linear(sampling));
    let ups = [
        ("nearest", UpConfig::nearest()),
        ("linear", linear(Sampling::HalfPixel)),
        ("linear, align-corners", linear(Sampling::AlignCorners)),
        ("transposed convolution", UpConfig::conv_transpose()),
    ];
    let fits = [
        ("resize", Fit::Resize(ResizeMode::linear())),
        ("pad", Fit::pad()),
        ("crop", Fit::crop()),
        ("pad or crop", Fit::pad_or_crop()),
    ];
    let targets = [Target::Skip, Target::Deep];
    let ups = ups.into_iter().filter(|(_, up)| *up != config.decoder.up);
    let ups = ups.map(|(name, up)| {
        // (Channels that were asked for by name may be none that the other gives.)
        let asked = config.decoder.up_channels.is_some();
        let mut net = config.clone().with_up(up);
        net.decoder.up_channels = None;
        let more = if asked {
            ", decoder.up_channels: null"
        } else {
            ""
        };
        (format!("decoder.up: {name}{more}"), net)
    });
    let fits = fits.into_iter().flat_map(|(name, fit)| {
        targets.clone().map(|target| {
            let change = match target == config.decoder.target {
                true => format!("decoder.fit: {name}"),
                false => format!("decoder.fit: {name}, decoder.target: {target:?}"),
            };
            (
                change,
                config.clone().with_fit(fit.clone()).with_target(target),
            )
        })
    });
    ups.chain(fits).collect()
}

fn input_change(size: &[usize]) -> String {
    let axes: Vec<String> = size.iter().map(|axis| format!("{axis}")).collect();
    format!("input: {}", axes.join("x"))
}

/// The next smaller and the next larger input that helps, each axis on its own.
fn nearest_sizes(
    net: &NetConfig,
    input: &[usize],
    helps: impl Fn(&Plan) -> bool,
) -> Vec<Vec<usize>> {
    let works = |input: &[usize]| net.plan(input).is_ok_and(|plan| helps(&plan));
    let with = |size: usize| [&input[..2], &vec![size; input.len() - 2]].concat();
    let most = input[2..].iter().copied().max().unwrap_or(0);
    // What one axis may be is seen where the others work.
    let Some(base) = (most..=most.saturating_add(FAR))
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
        let below = (at.saturating_sub(FAR).max(1)..=at).rev().find(on_axis);
        let above = (at..=at.saturating_add(FAR)).find(on_axis);
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

    fn texts(advice: &[Advice]) -> Vec<String> {
        advice
            .iter()
            .map(|advice| advice.changes.join("; "))
            .collect()
    }

    /// Every advice is followed, and works.
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
    fn all_that_is_changed_is_said() {
        let net = UnetConfig::monai_basic(1, 2, [4, 4, 8, 8, 16, 4]);
        let ups = unet_variants(&net).into_iter();
        let ups: Vec<_> = ups
            .filter(|(change, _)| change.starts_with("decoder.up:"))
            .collect();
        assert_eq!(ups.len(), 3);
        for (change, net) in ups {
            assert!(net.decoder.up_channels.is_none());
            assert!(change.ends_with(", decoder.up_channels: null"), "{change}");
        }
    }

    #[test]
    fn nothing_is_said_where_nothing_is_wrong_or_nothing_helps() {
        let net = NetConfig::Unet(UnetConfig::new(3, 2, vec![4, 8, 16]));
        assert!(net.advice(&[1, 3, 64, 64]).is_empty());
        assert!(
            net.advice(&[1, 4, 64, 64]).is_empty(),
            "the channels differ"
        );
        assert!(net.advice(&[1, 3]).is_empty());
    }
}
