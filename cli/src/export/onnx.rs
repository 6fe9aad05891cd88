//! Networks as ONNX models.

use burn::tensor::Device;
use burn_skip::net::{AnySegmentationModel, NetConfig};
use burn_skip::onnx::{OnnxModel, OnnxOptions, export, export_traced};

use crate::Result;
use crate::segmentation::model::MAX_PARAMETERS;

/// A trained network, for inputs of this shape.
///
/// # Errors
/// When the shape has other axes than what it was trained on, or the network refuses it.
pub fn of_trained<const R: usize>(
    net: &AnySegmentationModel<R>,
    input: &[usize],
    options: &OnnxOptions,
) -> Result<OnnxModel> {
    let Ok(input) = <[usize; R]>::try_from(input) else {
        let (what, axes) = match R {
            5 => ("volumes", "depth, height and width"),
            _ => ("images", "height and width"),
        };
        return Err(format!(
            "--input: it has {} axes, and the network reads {what}: give batch, channels, {axes}",
            input.len()
        )
        .into());
    };
    export(net, input, options).map_err(|e| format!("--input: {e}").into())
}

/// The network of a configuration, with new weights, for inputs of this shape.
///
/// # Errors
/// When the network is invalid, too large, or refuses the shape.
pub fn of_config(net: &NetConfig, input: &[usize], options: &OnnxOptions) -> Result<OnnxModel> {
    let plan = net.plan(input)?;
    if let Some(error) = plan.error() {
        return Err(error.clone().into());
    }
    let parameters = plan.root.total_parameters();
    if parameters > MAX_PARAMETERS as u64 {
        return Err(format!(
            "the network has {parameters} parameters, and this program takes {MAX_PARAMETERS} at most. \
             Use smaller widths or kernels."
        )
        .into());
    }
    match *input {
        [a, b, c] => of_rank(net, [a, b, c], options),
        [a, b, c, d] => of_rank(net, [a, b, c, d], options),
        [a, b, c, d, e] => of_rank(net, [a, b, c, d, e], options),
        _ => unreachable!("it has been planned"),
    }
}

fn of_rank<const R: usize>(
    net: &NetConfig,
    input: [usize; R],
    options: &OnnxOptions,
) -> Result<OnnxModel> {
    let device = Device::flex();
    let model = match (net, net.segmentation()) {
        (NetConfig::Classifier(config), _) => {
            config.validate::<R>()?;
            let net = config.init::<R>(&device);
            export_traced(&net, input, options, |planner, x| {
                Ok(vec![net.trace(planner, x)?])
            })
        }
        (_, Some(config)) => {
            config.validate::<R>()?;
            export(&config.init::<R>(&device), input, options)
        }
        (_, None) => return Err("the network is of no kind that is exported".into()),
    };
    Ok(model?)
}
