//! The prediction of a network on an image of any size, tile by tile.

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::AnySegmentationModel;
use burn_skip::tiles::{TilesConfig, mirrored_mean};
use clap::Args;
use indicatif::ProgressBar;

use crate::Result;
use crate::raster::Raster;
use crate::segmentation::batch::tensor;
use crate::segmentation::model::predicted;

/// How an image is cut into tiles.
#[derive(Args, Clone, Copy)]
pub struct Tiles {
    /// Side of a tile; a smaller image is one tile
    #[arg(long, default_value_t = 1024, value_name = "PIXELS")]
    tile: usize,

    /// Part of a tile that overlaps the next one
    #[arg(long, default_value_t = 0.25, value_name = "PART")]
    overlap: f64,

    /// Average the predictions of the four mirror images: takes four times as long
    #[arg(long)]
    mirror: bool,
}

impl Default for Tiles {
    fn default() -> Self {
        Self {
            tile: 1024,
            overlap: 0.25,
            mirror: false,
        }
    }
}

impl Tiles {
    /// Checks that the network takes the tiles of an image.
    ///
    /// # Errors
    /// As [`check_size`].
    pub fn check(self, net: &AnySegmentationModel, image: &Raster) -> Result<()> {
        let size = [image.height, image.width];
        check_size(
            net,
            image.channels,
            size.map(|pixels| pixels.min(self.tile)),
        )
    }

    /// The class of every pixel. With `bar`, a progress bar on a terminal.
    ///
    /// # Errors
    /// When the tiles do not suit the network, or the device fails.
    pub fn predict(
        self,
        net: &AnySegmentationModel,
        image: &Raster,
        device: &Device,
        bar: bool,
    ) -> Result<Raster> {
        let size = [image.height, image.width];
        let tiles = TilesConfig::new(self.tile).with_overlap(self.overlap);
        let count = tiles.count(&size)?;
        self.check(net, image)?;
        let bar = match bar {
            true => ProgressBar::new(count as u64),
            false => ProgressBar::hidden(),
        };
        let forward = |tile: Tensor<4>| Layer::forward(net, tile);
        let mut values = Vec::with_capacity(image.width * image.height);
        let mut failed = None;
        tiles.predict_rows(
            &size,
            |rows| tensor(&image.cut(0, rows.start, image.width, rows.len()), device),
            |tile| {
                bar.inc(1);
                if self.mirror {
                    mirrored_mean(tile, forward)
                } else {
                    forward(tile)
                }
            },
            |_, logits| match predicted(logits).try_into_vec_as::<f32>() {
                Ok(rows) => values.extend(rows),
                Err(error) => failed = Some(error),
            },
        );
        bar.finish_and_clear();
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Raster {
                channels: 1,
                width: image.width,
                height: image.height,
                values,
            }),
        }
    }
}

/// Checks that the network takes an image of this height and width, and has one output for every pixel.
///
/// # Errors
/// When the image is too small for the network, or the output has another size.
pub fn check_size(
    network: &impl Layer<4>,
    channels: usize,
    [height, width]: [usize; 2],
) -> Result<()> {
    let input = [1, channels, height, width];
    let [_, _, out_height, out_width] = network.output_shape(input).map_err(|e| {
        format!("the network does not suit {width} x {height} pixels (width x height): {e}")
    })?;
    if [out_height, out_width] != [height, width] {
        return Err(format!(
            "the network makes {out_width} x {out_height} pixels (width x height) of {width} x \
             {height}; to classify every pixel it must keep the size. Change its config."
        )
        .into());
    }
    Ok(())
}
