//! What a network finds in an image of any size, tile by tile.

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::Unet;
use burn_skip::tiles::{TilesConfig, mirrored_mean};
use clap::Args;
use indicatif::ProgressBar;

use crate::Result;
use crate::batch::tensor;
use crate::plane::Plane;

/// How an image is cut.
#[derive(Args, Clone, Copy)]
pub struct Tiles {
    /// The side of a tile; a smaller image is looked at as a whole
    #[arg(long, default_value_t = 1024, value_name = "PIXELS")]
    tile: usize,

    /// By what part of it a tile overlaps the next
    #[arg(long, default_value_t = 0.25, value_name = "PART")]
    overlap: f64,

    /// Take the mean over the mirror images: four times the time
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
    /// The pixels that the network takes for foreground: 1 there, 0 elsewhere. A bar shows how far it is, on a
    /// terminal.
    ///
    /// # Errors
    /// When the tiles cannot be cut so, or the device fails.
    pub fn find(self, unet: &Unet<4>, image: &Plane, device: &Device) -> Result<Plane> {
        let size = [image.height, image.width];
        let tiles = TilesConfig::new(self.tile).with_overlap(self.overlap);
        let count = tiles.count(&size)?;
        Layer::output_shape(unet, [1, 1, self.tile.min(size[0]), self.tile.min(size[1])])?;
        let bar = ProgressBar::new(count as u64);
        let look = |tile: Tensor<4>| Layer::forward(unet, tile);
        let mut values = Vec::with_capacity(image.values.len());
        let mut failed = None;
        tiles.predict_rows(
            &size,
            |rows| tensor(&image.cut(0, rows.start, image.width, rows.len()), device),
            |tile| {
                bar.inc(1);
                if self.mirror {
                    mirrored_mean(tile, look)
                } else {
                    look(tile)
                }
            },
            |_, logits| match logits.greater_elem(0.0).float().try_into_vec_as::<f32>() {
                Ok(rows) => values.extend(rows),
                Err(error) => failed = Some(error),
            },
        );
        bar.finish_and_clear();
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Plane {
                width: image.width,
                height: image.height,
                values,
            }),
        }
    }
}
