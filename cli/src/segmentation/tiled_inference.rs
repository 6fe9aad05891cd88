//! The prediction of a network on an image of any size, tile by tile.

use burn::tensor::{Device, Tensor};
use burn_skip::net::AnySegmentationModel;
use burn_skip::tiles::{TilesConfig, mirrored_mean};
use burn_skip::{Layer, PerAxis};
use clap::Args;
use indicatif::ProgressBar;

use crate::Result;
use crate::raster::{Raster, shown_size};
use crate::segmentation::batch::tensor;
use crate::segmentation::lengths::{self, shape};
use crate::segmentation::model::predicted;

/// How an image is cut into tiles.
#[derive(Args, Clone)]
pub struct Tiles {
    /// Sides of a tile: one length, or one for each axis, such as 32x96x96; a smaller image is one tile [default: 1024 of
    /// an image, 96 of a volume]
    #[arg(long, value_name = "PIXELS", value_parser = lengths::parse)]
    tile: Option<PerAxis>,

    /// Part of a tile that overlaps the next one
    #[arg(long, default_value_t = 0.25, value_name = "PART")]
    overlap: f64,

    /// Average the predictions of all mirror images: takes four times as long, of a volume eight times
    #[arg(long)]
    mirror: bool,
}

impl Default for Tiles {
    fn default() -> Self {
        Self {
            tile: None,
            overlap: 0.25,
            mirror: false,
        }
    }
}

impl Tiles {
    /// Tiles of so many axes.
    pub fn config(&self, axes: usize) -> TilesConfig {
        let default = PerAxis::All(if axes < 3 { 1024 } else { 96 });
        let tile = self.tile.clone().unwrap_or(default);
        TilesConfig::new(tile).with_overlap(self.overlap)
    }

    /// Checks that the network takes the tiles of an image.
    ///
    /// # Errors
    /// As [`check_size`].
    pub fn check<const R: usize>(
        &self,
        net: &AnySegmentationModel<R>,
        image: &Raster,
    ) -> Result<()> {
        let axes = R - 2;
        let tile = lengths::of_axes(&self.config(axes).size, axes, "--tile")?;
        let tile = image
            .size
            .iter()
            .zip(tile)
            .map(|(&length, tile)| length.min(tile));
        check_size(net, image.channels, &tile.collect::<Vec<_>>())
    }

    /// The class of every pixel. With `bar`, a progress bar on a terminal.
    ///
    /// # Errors
    /// As [`predict_with`](Self::predict_with).
    pub fn predict<const R: usize>(
        &self,
        net: &AnySegmentationModel<R>,
        image: &Raster,
        device: &Device,
        bar: bool,
    ) -> Result<Raster> {
        self.predict_with(net, image, device, bar, |_| Ok(()))
    }

    /// As [`predict`](Self::predict); `also` is told the logits of some rows after the others.
    ///
    /// # Errors
    /// When the tiles do not suit the network, or the device fails.
    pub fn predict_with<const R: usize>(
        &self,
        net: &AnySegmentationModel<R>,
        image: &Raster,
        device: &Device,
        bar: bool,
        mut also: impl FnMut(Tensor<R>) -> Result<()>,
    ) -> Result<Raster> {
        let size = &image.size;
        let tiles = self.config(R - 2);
        let count = tiles.count(size)?;
        self.check(net, image)?;
        let bar = match bar {
            true => ProgressBar::new(count as u64),
            false => ProgressBar::hidden(),
        };
        let forward = |tile: Tensor<R>| Layer::forward(net, tile);
        let mut values = Vec::with_capacity(image.pixels());
        let mut failed = None;
        tiles.predict_rows(
            size,
            |rows| tensor(&image.rows(rows), device),
            |tile| {
                bar.inc(1);
                if self.mirror {
                    mirrored_mean(tile, forward)
                } else {
                    forward(tile)
                }
            },
            |_, logits| {
                let told = also(logits.clone());
                let rows = predicted(logits).try_into_vec_as::<f32>();
                match told.and_then(|()| Ok(rows?)) {
                    Ok(rows) => values.extend(rows),
                    Err(error) => failed = Some(error),
                }
            },
        );
        bar.finish_and_clear();
        match failed {
            Some(error) => Err(error),
            None => Ok(Raster {
                channels: 1,
                size: image.size.clone(),
                values,
            }),
        }
    }
}

/// Checks that the network takes an image of this size, and has one output for every pixel.
///
/// # Errors
/// When the image is too small for the network, or the output has another size.
pub fn check_size<const R: usize>(
    network: &impl Layer<R>,
    channels: usize,
    size: &[usize],
) -> Result<()> {
    let shown = shown_size(size);
    let output = network
        .output_shape(shape(1, channels, size))
        .map_err(|e| format!("the network does not suit {shown} pixels: {e}"))?;
    if output[2..] != *size {
        return Err(format!(
            "the network makes {} pixels of {shown}; to classify every pixel it must keep the size. Change its config.",
            shown_size(&output[2..])
        )
        .into());
    }
    Ok(())
}
