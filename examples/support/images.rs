//! Grey PNG files and tensors.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter};

use burn::tensor::{Device, Tensor, TensorData};

const NUCLEI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/nuclei");

/// An image of cell nuclei, and 1 where a nucleus is: both `[1, 1, 512, 512]`, the image from 0 to 255.
pub fn nuclei(device: &Device) -> Result<[Tensor<4>; 2], Box<dyn Error>> {
    let image = read(&format!("{NUCLEI}/image.png"), device)?;
    // (The labels number the nuclei.)
    let mask = read(&format!("{NUCLEI}/labels.png"), device)?;
    Ok([image, mask.greater_elem(0).float()])
}

/// Intersection over union of two masks.
pub fn iou(a: Tensor<4>, b: Tensor<4>) -> f32 {
    let both = (a.clone() * b.clone()).sum();
    let either = (a + b).clamp(0, 1).sum();
    (both / either).into_scalar::<f32>()
}

fn read(path: &str, device: &Device) -> Result<Tensor<4>, Box<dyn Error>> {
    let file = BufReader::new(File::open(path)?);
    let mut reader = png::Decoder::new(file).read_info()?;
    let [width, height] = [reader.info().width, reader.info().height].map(|side| side as usize);
    let mut bytes = vec![0; width * height];
    reader.next_frame(&mut bytes)?;
    let data = TensorData::new(bytes, [1, 1, height, width]).convert::<f32>();
    Ok(Tensor::from_data(data, device))
}

/// Writes numbers from 0 to 1 as an image.
pub fn write(path: &str, x: Tensor<4>) -> Result<(), Box<dyn Error>> {
    let [.., height, width] = x.dims();
    let data = (x.clamp(0, 1) * 255.0).into_data();
    let bytes: Vec<u8> = data.iter::<f32>().map(|value| value as u8).collect();
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header()?.write_image_data(&bytes)?;
    Ok(())
}

/// Moves the quantiles 0.01 and 0.998 to 0 and 1.
pub fn stretched(x: Tensor<4>) -> Tensor<4> {
    let mut values: Vec<f32> = x.to_data().iter::<f32>().collect();
    values.sort_unstable_by(f32::total_cmp);
    let quantile = |q: f64| values[(q * (values.len() - 1) as f64).round() as usize];
    (x - quantile(0.01)) / (quantile(0.998) - quantile(0.01))
}
