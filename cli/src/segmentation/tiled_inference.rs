//! The prediction of a network on an image of any size, tile by tile.

use std::ops::Range;

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
    /// When the tiles do not suit the network, or the device fails.
    pub fn predict<const R: usize>(
        &self,
        net: &AnySegmentationModel<R>,
        image: &Raster,
        device: &Device,
        bar: bool,
    ) -> Result<Raster> {
        self.check(net, image)?;
        let bar = match bar {
            true => ProgressBar::new(self.config(R - 2).count(&image.size)? as u64),
            false => ProgressBar::hidden(),
        };
        let mut values = image.values.zeros_like(image.pixels())?;
        let mut left = &mut values[..];
        self.run(
            &image.size,
            &bar,
            |rows| tensor(image.rows(rows), device),
            |tile: Tensor<R>| Layer::forward(net, tile),
            |logits| {
                let classes = predicted(logits).try_into_vec_as::<f32>()?;
                let (rows, others) = std::mem::take(&mut left).split_at_mut(classes.len());
                rows.copy_from_slice(&classes);
                left = others;
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        Ok(Raster {
            channels: 1,
            size: image.size.clone(),
            values,
        })
    }

    /// Runs `forward` on the tiles of an image, whose rows `read` returns; `write` gets the rows of the output, in
    /// order. `bar` moves on with each tile.
    ///
    /// # Errors
    /// When there are too many tiles, or `write` fails: it is not called again then.
    pub fn run<const R: usize>(
        &self,
        size: &[usize],
        bar: &ProgressBar,
        read: impl FnMut(Range<usize>) -> Tensor<R>,
        forward: impl Fn(Tensor<R>) -> Tensor<R>,
        mut write: impl FnMut(Tensor<R>) -> Result<()>,
    ) -> Result<()> {
        let tiles = self.config(R - 2);
        tiles.count(size)?;
        let mut written = Ok(());
        tiles.predict_rows(
            size,
            read,
            |tile| {
                bar.inc(1);
                match self.mirror {
                    true => mirrored_mean(tile, &forward),
                    false => forward(tile),
                }
            },
            |_, rows| {
                if written.is_ok() {
                    written = write(rows);
                }
            },
        );
        written
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
