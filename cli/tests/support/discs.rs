//! Images of discs, of which two touch, and a network that was trained on them.
#![allow(dead_code)] // Each test uses a part.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::images::npy;
use super::{shown, succeed, words, write};

pub const SIZE: [usize; 2] = [48, 64];

/// Three bright discs on a noisy ground, of which two touch, and the number of the disc of each pixel.
pub fn discs(seed: usize) -> [Vec<f32>; 2] {
    let shift = seed as f32;
    let centres = [
        [14.0, 12.0 + shift],
        [14.0, 28.0 + shift],
        [34.0 - shift, 48.0],
    ];
    let number = |pixel: usize| {
        let place = [(pixel / SIZE[1]) as f32, (pixel % SIZE[1]) as f32];
        let squared = |centre: [f32; 2]| {
            let [y, x] = [place[0] - centre[0], place[1] - centre[1]];
            y * y + x * x
        };
        let mut nearest: Vec<(f32, f32)> = centres
            .map(squared)
            .into_iter()
            .zip([1.0, 2.0, 3.0])
            .collect();
        nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
        if nearest[0].0 <= 81.0 {
            nearest[0].1
        } else {
            0.0
        }
    };
    let numbers: Vec<f32> = (0..SIZE[0] * SIZE[1]).map(number).collect();
    let noise = |pixel: usize| ((pixel * 31 + seed * 17) % 50) as f32;
    let image = numbers.iter().enumerate();
    let image = image.map(|(pixel, &number)| 400.0 * number.min(1.0) + noise(pixel));
    [image.collect(), numbers]
}

/// A network for the discs.
pub const NET: &str = r#"{"Unet": {"in_channels": 1, "widths": [8, 16], "out_channels": 1}}"#;

/// A network that was trained on the discs, and the folder of its data.
pub fn trained_on_discs(out: &Path) -> [String; 2] {
    let data = out.join("data");
    for part in ["images", "masks"] {
        fs::create_dir_all(data.join(part)).expect("a folder");
    }
    for seed in 0..3 {
        let [image, numbers] = discs(seed);
        write(&data, &format!("images/{seed}.npy"), npy(&SIZE, &image));
        write(&data, &format!("masks/{seed}.npy"), npy(&SIZE, &numbers));
    }
    let (net, run) = (write(out, "net.json", NET), shown(out, "run"));
    let train =
        "train --quiet --epochs 1 --steps 30 --batch 4 --crop 32 --intensities linear --data";
    let data = data.display().to_string();
    succeed(&words(train, &[&data, "--out", &run, &net]));
    [run, data]
}

/// The object in the last line.
pub fn json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}
