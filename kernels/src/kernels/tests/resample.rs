//! Maps along the axes, compared with plain sums.

use alloc::{vec, vec::Vec};

use super::super::resample::{Resampling, forward as resample};
use super::*;
use crate::axis_map::AxisMap;

/// `taps` taps for each output, near the same place; where `taps` is 0, from none to three.
fn near(outputs: usize, inputs: usize, taps: usize) -> AxisMap {
    let mut map = AxisMap::zero(outputs, inputs, 2);
    for output in 0..outputs {
        let count = if taps == 0 { output % 4 } else { taps };
        for tap in 0..count {
            let column = (output * inputs / outputs + tap).min(inputs - 1);
            map.add(
                output,
                column,
                0.5 - 0.3 * tap as f64 + 0.01 * output as f64,
            );
        }
    }
    map
}

/// The matrix of a map, or that of the identity.
fn matrix(map: Option<&AxisMap>, inputs: usize) -> Vec<Vec<f64>> {
    let Some(map) = map else {
        let row = |n: usize| (0..inputs).map(|m| f64::from(n == m)).collect();
        return (0..inputs).map(row).collect();
    };
    let row = |taps: &[(usize, f64)]| {
        let mut row = vec![0.0; inputs];
        for (column, weight) in taps {
            row[*column] += f64::from(*weight as f32);
        }
        row
    };
    map.rows().map(row).collect()
}

#[test]
fn resampling_and_its_gradient_are_the_sums() {
    let select = |indices: &[usize], inputs| Some(AxisMap::selection(indices, inputs));
    let map = |outputs, inputs, taps| Some(near(outputs, inputs, taps));
    let mut cases = vec![
        ([1, 1, 9], [None, None, map(21, 9, 2)]),
        ([1, 5, 7], [None, map(11, 5, 2), map(15, 7, 2)]),
        (
            [1, 7, 5],
            [None, map(3, 7, 0), select(&[0, 0, 2, 4, 4, 3], 5)],
        ),
        ([3, 4, 5], [map(5, 3, 4), select(&[3, 0, 1], 4), None]),
        ([2, 3, 4], [select(&[1], 2), None, map(3, 4, 3)]),
    ];
    if cfg!(not(miri)) {
        cases.push(([1, 61, 67], [None, map(131, 61, 4), map(263, 67, 2)]));
        cases.push(([1, 1, 3000], [None, None, map(7001, 3000, 2)]));
        cases.push(([2, 1, 5000], [map(3, 2, 2), None, map(2600, 5000, 3)]));
        cases.push(([9, 40, 31], [map(4, 9, 3), map(20, 40, 2), map(62, 31, 1)]));
    }
    with_all_instructions(|| {
        for (from, maps) in &cases {
            let listed = maps.iter().enumerate();
            let listed = listed.filter_map(|(axis, map)| Some((axis + 2, map.clone()?)));
            let resampling = Resampling::new(from, &listed.collect::<Vec<_>>()).unwrap();
            let to: Vec<usize> = resampling.output_size(3).to_vec();
            let [planes, rows, columns] =
                [0, 1, 2].map(|axis| matrix(maps[axis].as_ref(), from[axis]));
            let (inputs, outputs) = (from.iter().product(), to.iter().product::<usize>());
            let channels = 3;
            let (x, gradient) = (noise(channels * inputs, 1), noise(channels * outputs, 2));
            let (mut y, mut dx) = (vec![0.0; channels * outputs], vec![0.0; channels * inputs]);
            for out in 0..channels * outputs {
                let (channel, at) = (out / outputs, out % outputs);
                let [z, row, column] = [at / (to[1] * to[2]), at / to[2] % to[1], at % to[2]];
                for at in 0..inputs {
                    let plane = from[1] * from[2];
                    let weight = planes[z][at / plane]
                        * rows[row][at / from[2] % from[1]]
                        * columns[column][at % from[2]];
                    y[out] += weight * f64::from(x[channel * inputs + at]);
                    dx[channel * inputs + at] += weight * f64::from(gradient[out]);
                }
            }
            assert_near(&resample(&x, &resampling), &y, &(from, "forward"));
            let found = resample(&gradient, &resampling.transposed());
            assert_near(&found, &dx, &(from, "gradient"));
        }
    });
}
