//! The seeds of a watershed, one in each object: where the distance to the border is largest, or what a network calls
//! the inside.

use burn_skip::metric::{Connectivity, LabelMap};

use super::as_array;
use super::neighbours::Neighbours;
use crate::Result;
use crate::raster::Raster;

/// How often the distance is smoothed: a border of pixels has steps, each of which would make a maximum.
const SMOOTHINGS: usize = 2;

/// Where a watershed begins, and on what it is.
pub struct Seeds {
    /// The number of the seed, 0 where there is none.
    pub labels: Vec<i64>,
    /// What is flooded, the highest first.
    pub heights: Vec<f64>,
}

impl Seeds {
    /// The maxima of the distance to the border of `foreground`. Maxima that are nearer to each other than
    /// `min_distance`, on a way inside the foreground, are one seed. Distances are in the unit of `spacing`.
    ///
    /// # Errors
    /// When the spacing is not positive.
    pub fn of_distance(
        foreground: &LabelMap,
        spacing: &[f64; 3],
        min_distance: f64,
    ) -> Result<Self> {
        let size = as_array(foreground.size());
        let inside: Vec<bool> = foreground
            .labels()
            .iter()
            .map(|&label| label != 0)
            .collect();
        // (Where all is foreground, there is no border and no distance to it.)
        let distance = foreground.distance_transform(spacing)?;
        let mut distance: Vec<f64> = distance.into_iter().map(|d| d.min(f64::MAX)).collect();
        for _ in 0..SMOOTHINGS {
            smooth(&mut distance, size);
        }
        let neighbours = Neighbours::new(size, Connectivity::Full);
        let is_maximum = maxima(&distance, &inside, &neighbours);

        // Around each maximum a ball of half the distance: balls that touch are one.
        let map = |labels| LabelMap::new(size, labels);
        let elsewhere = is_maximum.iter().map(|&is_maximum| i64::from(!is_maximum));
        let to_maximum = map(elsewhere.collect())?.distance_transform(spacing)?;
        let balls = to_maximum.iter().zip(&inside);
        let balls = balls.map(|(&d, &inside)| i64::from(inside && d <= min_distance / 2.0));
        let merged = map(balls.collect())?.connected_components(Connectivity::Full);
        let seeds = merged.map.labels().iter().zip(&is_maximum);
        let labels = seeds.map(|(&number, &is_maximum)| number * i64::from(is_maximum));
        Ok(Self {
            labels: labels.collect(),
            heights: distance,
        })
    }

    /// The connected regions of the foreground whose class is more probably the inside of an object than its border;
    /// the heights are the probabilities of the inside. The channels are background, inside and border.
    ///
    /// # Errors
    /// When there are other channels.
    pub fn of_inside(probabilities: &Raster, foreground: &LabelMap) -> Result<Self> {
        let maps = probabilities.values.chunks_exact(probabilities.pixels());
        let [_, inside, border] = maps.collect::<Vec<_>>()[..] else {
            return Err(not_of_three_classes(probabilities.channels).into());
        };
        let pixels = inside.iter().zip(border).zip(foreground.labels());
        let seeds = pixels.map(|((inside, border), &label)| match inside >= border {
            true => label,
            false => 0,
        });
        let seeds = LabelMap::new(foreground.size(), seeds.collect())?;
        let seeds = seeds.connected_components(Connectivity::Faces);
        Ok(Self {
            labels: seeds.map.labels().to_vec(),
            heights: inside.iter().map(|&p| f64::from(p)).collect(),
        })
    }
}

/// Why a network cannot be split by its inside.
pub fn not_of_three_classes(classes: usize) -> String {
    let classes = match classes {
        1 => "1 class".to_string(),
        several => format!("{several} classes"),
    };
    format!(
        "--split inside is for a network of three classes (background, inside, border), and this one has {classes}. \
         Use --split distance."
    )
}

/// The binomial filter 1 2 1 along each axis; beyond the edge the values go on as they are there.
fn smooth(values: &mut [f64], size: [usize; 3]) {
    let mut stride = values.len();
    for length in size {
        stride /= length.max(1);
        for block in values.chunks_exact_mut(length * stride) {
            for start in 0..stride {
                let mut before = block[start];
                for place in (start..block.len()).step_by(stride) {
                    let here = block[place];
                    let after = block.get(place + stride).copied().unwrap_or(here);
                    block[place] = before / 4.0 + here / 2.0 + after / 4.0;
                    before = here;
                }
            }
        }
    }
}

/// Which positions inside have no higher neighbour, and lie on no flat that has one.
fn maxima(values: &[f64], inside: &[bool], neighbours: &Neighbours) -> Vec<bool> {
    let mut is_maximum = vec![false; values.len()];
    let mut is_known = vec![false; values.len()];
    let mut flat = Vec::new();
    for start in (0..values.len()).filter(|&start| inside[start]) {
        if std::mem::replace(&mut is_known[start], true) {
            continue;
        }
        let height = values[start];
        let mut is_highest = true;
        flat.clear();
        flat.push(start);
        let mut next = 0;
        while let Some(&position) = flat.get(next) {
            next += 1;
            for other in neighbours.of(position).filter(|&other| inside[other]) {
                is_highest &= values[other] <= height;
                if values[other] == height && !std::mem::replace(&mut is_known[other], true) {
                    flat.push(other);
                }
            }
        }
        for &position in &flat {
            is_maximum[position] = is_highest;
        }
    }
    is_maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LabelMap {
        let labels = text.bytes().map(|byte| i64::from(byte == b'#'));
        LabelMap::new([1, 1, text.len()], labels.collect()).unwrap()
    }

    #[test]
    fn a_flat_is_one_maximum() {
        let values = [0.0, 2.0, 2.0, 1.0, 3.0, 3.0, 4.0, 0.0];
        let neighbours = Neighbours::new([1, 1, 8], Connectivity::Full);
        let mut inside = [true; 8];
        inside[0] = false;
        let found = maxima(&values, &inside, &neighbours);
        let places: Vec<usize> = (0..8).filter(|&place| found[place]).collect();
        assert_eq!(places, [1, 2, 6]);
    }

    #[test]
    fn smoothing_keeps_a_constant_and_spreads_a_peak() {
        let mut flat = vec![2.0; 12];
        smooth(&mut flat, [2, 2, 3]);
        assert_eq!(flat, [2.0; 12]);
        let mut peak = vec![0.0; 15];
        peak[7] = 16.0;
        smooth(&mut peak, [1, 3, 5]);
        assert_eq!(
            peak,
            [
                0.0, 1.0, 2.0, 1.0, 0.0, 0.0, 2.0, 4.0, 2.0, 0.0, 0.0, 1.0, 2.0, 1.0, 0.0
            ]
        );
    }

    #[test]
    fn near_maxima_are_one_seed_and_other_objects_have_their_own() {
        let two = line(".#####..#####.");
        let seeds = |min_distance| {
            let found = Seeds::of_distance(&two, &[1.0; 3], min_distance).unwrap();
            let mut numbers: Vec<i64> = found.labels.into_iter().filter(|&n| n != 0).collect();
            numbers.dedup();
            numbers.len()
        };
        assert_eq!(seeds(0.0), 2);
        // There is no way from one to the other inside the foreground.
        assert_eq!(seeds(100.0), 2);
    }
}
