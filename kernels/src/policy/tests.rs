//! The decisions, by literal numbers.

use super::*;
use alloc::vec;

fn geometry(kernel: [usize; 2], pad: [isize; 2], size: [usize; 2]) -> Geometry {
    Geometry {
        kernel,
        stride: [1, 1],
        dilation: [1, 1],
        pad,
        groups: 1,
        size,
        depth: Depth::FLAT,
    }
}

/// A padded convolution of 3x3 over one map.
fn plain(batch: usize, channels: [usize; 2], size: [usize; 2]) -> ConvShape {
    ConvShape {
        geometry: geometry([3, 3], [1, 1], size),
        batch,
        sources: vec![SourceShape::plain(channels[0], size)],
        outputs: channels[1],
    }
}

fn doubled(channels: usize, size: [usize; 2]) -> SourceShape {
    SourceShape {
        channels,
        size: size.map(|size| size / 2),
        factors: [2, 2],
        slices: StoredSlices::ONE,
    }
}

const NEEDED: SourceGradient = SourceGradient {
    is_needed: true,
    has_norm: false,
};

#[test]
fn winograd_is_for_dense_kernels_of_3x3_with_enough_channels_and_positions() {
    let is_winograd = |shape: &ConvShape| {
        [WeightUse::Once, WeightUse::Kept]
            .map(|weight| shape.algorithm(weight) == Algorithm::Winograd)
    };
    assert_eq!(is_winograd(&plain(1, [32, 32], [32, 16])), [true, true]);
    assert_eq!(is_winograd(&plain(1, [31, 32], [32, 16])), [false, false]);
    assert_eq!(is_winograd(&plain(1, [32, 31], [32, 16])), [false, false]);
    // A weight that is kept is transformed once: 32 positions are enough.
    assert_eq!(is_winograd(&plain(1, [32, 64], [31, 16])), [false, true]);
    assert_eq!(is_winograd(&plain(16, [257, 256], [4, 8])), [true, true]);
    // Few outputs at few positions, or few products at fewer, are the lanes of vectors.
    assert_eq!(is_winograd(&plain(1, [32, 32], [31, 16])), [false, false]);
    assert_eq!(is_winograd(&plain(9, [32, 63], [16, 31])), [false, false]);
    assert_eq!(is_winograd(&plain(16, [256, 256], [7, 9])), [false, false]);
    assert_eq!(is_winograd(&plain(9, [256, 256], [8, 8])), [true, true]);
    assert_eq!(is_winograd(&plain(99, [32, 32], [5, 6])), [false, false]);
    assert_eq!(is_winograd(&plain(9, [32, 32], [1, 64])), [false, false]);

    let unpadded = ConvShape {
        geometry: geometry([3, 3], [0, 0], [30, 30]),
        ..plain(1, [32, 32], [32, 32])
    };
    assert_eq!(is_winograd(&unpadded), [true, true]);
    let nine_by_one = ConvShape {
        geometry: geometry([9, 1], [4, 0], [32, 32]),
        ..plain(1, [32, 32], [32, 32])
    };
    assert_eq!(is_winograd(&nine_by_one), [false, false]);
    let dilated = |dilation| {
        let mut shape = plain(1, [32, 32], [32, 32]);
        shape.geometry.dilation = [dilation; 2];
        shape.geometry.pad = [dilation as isize; 2];
        shape
    };
    assert_eq!(is_winograd(&dilated(2)), [false, false]);
    let undilated = dilated(2).undilated(WeightUse::Once).unwrap();
    assert_eq!(is_winograd(&undilated.shape), [true, true]);
    // 16 rows and 16 + 1 + 16 columns of each of two row phases.
    assert_eq!(undilated.output.size(), [16, 33]);
    assert_eq!(undilated.shape.batch, 2);
    let bytes = 4 * 2 * 32 * 16 * 33;
    assert_eq!(dilated(2).laid_out_bytes(WeightUse::Once), bytes);
    // In inference the transform of the weight is kept, and pays for few positions.
    let mut small = plain(1, [32, 64], [16, 16]);
    small.geometry.dilation = [2, 2];
    small.geometry.pad = [2, 2];
    assert_eq!(small.undilated(WeightUse::Once), None);
    assert!(small.undilated(WeightUse::Kept).is_some());
    // Maps of 7 x 8 are too small, beside the dilated convolution with its outputs in the lanes.
    small.sources[0].size = [14, 16];
    small.geometry.size = [14, 16];
    assert_eq!(small.undilated(WeightUse::Kept), None);
    // With more products they are large enough.
    small.sources[0].channels = 1025;
    assert!(small.undilated(WeightUse::Kept).is_some());
    // Of a kernel that reads further than the map is large, only the middle tap reads more than padding.
    let reached = dilated(32).reached().unwrap();
    assert_eq!(reached.shape, {
        let mut middle = plain(1, [32, 32], [32, 32]);
        middle.geometry.kernel = [1, 1];
        middle.geometry.pad = [0, 0];
        middle
    });
    assert_eq!(
        reached.first,
        Axes {
            depth: 0,
            plane: [1, 1]
        }
    );
    assert_eq!(dilated(32).prepared_bytes(WeightUse::Kept), 4 * 32 * 32);
    for all in [1, 2, 31] {
        assert_eq!(dilated(all).reached(), None);
    }
    // Maps of 2x2 would be mostly zeros.
    assert_eq!(dilated(24).undilated(WeightUse::Once), None);
    assert_eq!(dilated(1).undilated(WeightUse::Once), None);
    for extreme in [0, 33, isize::MAX as usize, usize::MAX] {
        assert_eq!(
            dilated(extreme).undilated(WeightUse::Once),
            None,
            "{extreme}"
        );
        assert_eq!(dilated(extreme).laid_out_bytes(WeightUse::Once), 0);
    }
    assert_eq!(is_winograd(&dilated(1)), [true, true]);
    let mut strided = plain(1, [32, 32], [32, 32]);
    strided.geometry.stride = [2, 1];
    assert_eq!(is_winograd(&strided), [false, false]);
    let mut grouped = plain(1, [64, 64], [32, 32]);
    grouped.geometry.groups = 2;
    assert_eq!(is_winograd(&grouped), [false, false]);
}

#[test]
fn winograd_reads_doubled_maps_behind_an_odd_padding() {
    let mut shape = plain(1, [16, 32], [32, 32]);
    shape.sources.push(doubled(16, [32, 32]));
    assert_eq!(shape.algorithm(WeightUse::Once), Algorithm::Winograd);
    shape.geometry.pad = [1, 0];
    let sums = Algorithm::TapSums { step: [2, 2] };
    assert_eq!(shape.algorithm(WeightUse::Once), sums);
    shape.geometry.pad = [1, 1];
    shape.sources[1].factors = [1, 2];
    let sums = Algorithm::TapSums { step: [1, 2] };
    assert_eq!(shape.algorithm(WeightUse::Once), sums);
}

#[test]
fn taps_are_summed_from_1024_positions_on_and_always_where_the_sums_are_kept() {
    let mut shape = plain(1, [0, 4], [32, 32]);
    shape.sources = vec![doubled(8, [32, 32])];
    let sums = Algorithm::TapSums { step: [2, 2] };
    assert_eq!(shape.algorithm(WeightUse::Once), sums);
    shape.geometry.size = [31, 33];
    assert_eq!(shape.algorithm(WeightUse::Once), Algorithm::Direct);
    assert_eq!(shape.algorithm(WeightUse::Kept), sums);
    shape.sources[0].factors = [2, 5];
    assert_eq!(shape.algorithm(WeightUse::Kept), Algorithm::Direct);
}

#[test]
fn the_bytes_that_are_made_of_a_weight() {
    // 16 components of 64 x 32 kernels; 33 outputs are filled up to 40.
    let bytes = |shape: &ConvShape| shape.prepared_bytes(WeightUse::Kept);
    assert_eq!(bytes(&plain(1, [32, 64], [24, 24])), 4 * 16 * 64 * 32);
    assert_eq!(bytes(&plain(1, [32, 33], [24, 24])), 4 * 16 * 40 * 32);
    // The weight itself, interleaved, unless it is pointwise or its outputs are the lanes.
    let direct = plain(1, [3, 62], [24, 34]);
    assert_eq!(bytes(&direct), 4 * 9 * 64 * 3);
    assert_eq!(bytes(&plain(1, [3, 62], [34, 24])), 0); // outputs are the lanes
    let few = plain(1, [3, 62], [20, 34]);
    assert_eq!(few.prepared_bytes(WeightUse::Once), 0); // 680 positions
    let pointwise = ConvShape {
        geometry: geometry([1, 1], [0, 0], [24, 24]),
        ..direct
    };
    assert_eq!(bytes(&pointwise), 0);

    // Of a doubled map 2 x 2 sums at each of 4 positions, of another all 9 taps.
    let mut shape = plain(1, [3, 8], [24, 24]);
    shape.sources.push(doubled(4, [24, 24]));
    assert_eq!(bytes(&shape), 4 * 8 * (3 * 4 * 9 + 4 * 4 * 4));
    // Columns only; 5 taps at even columns read 3 values, at odd ones too.
    let along = ConvShape {
        geometry: geometry([1, 5], [0, 2], [1, 32]),
        batch: 1,
        sources: vec![SourceShape::new(4, &[16], &[2]).unwrap()],
        outputs: 8,
    };
    assert_eq!(bytes(&along), 4 * 8 * 4 * (3 + 3));
    assert_eq!(along.prepared_bytes(WeightUse::Once), 0); // 32 positions
}

#[test]
fn the_bytes_of_the_backward_pass() {
    // The components of the transposed weight, or the transposed weight.
    let shape = plain(1, [32, 40], [24, 24]);
    assert_eq!(shape.backward_bytes(&[NEEDED]), 4 * 16 * 32 * 40);
    let small = plain(1, [31, 40], [24, 34]);
    assert_eq!(small.backward_bytes(&[NEEDED]), 4 * 9 * 32 * 40);
    let constant = SourceGradient {
        is_needed: false,
        ..NEEDED
    };
    assert_eq!(shape.backward_bytes(&[constant]), 0);
    // The gradient behind a deferred norm, a map of 32 channels.
    let normed = SourceGradient {
        has_norm: true,
        ..NEEDED
    };
    let large = plain(8, [32, 40], [64, 64]);
    assert_eq!(large.backward_bytes(&[normed]), 4 * 8 * 32 * 64 * 64);

    // An enlarged source: a kernel of 4 x 4, and its gradient beside that of the 3 x 3.
    let mut shape = plain(1, [3, 8], [24, 24]);
    shape.sources = vec![doubled(4, [24, 24])];
    assert_eq!(shape.backward_bytes(&[NEEDED]), 4 * 16 * 4 * 8);
    shape.batch = 2;
    assert_eq!(shape.backward_bytes(&[NEEDED]), 4 * (16 + 9) * 4 * 8);
}

#[test]
fn a_transposed_convolution_turns_its_weight_with_each_call() {
    let mut shape = TransposedShape {
        geometry: Geometry {
            kernel: [2, 2],
            stride: [2, 2],
            ..geometry([2, 2], [0, 0], [12, 12])
        },
        batch: 2,
        inputs: 64,
        outputs: 32,
        size: Axes {
            depth: 1,
            plane: [24, 24],
        },
    };
    assert!(shape.is_taken());
    assert_eq!(
        shape.algorithm(core::slice::from_ref(&(0..32))),
        Algorithm::Direct
    );
    assert_eq!(shape.forward_bytes(), 4 * 64 * 32 * 4);
    assert_eq!(shape.backward_bytes(), 0);
    // By blocks of eight outputs, if there is one.
    let bytes = |outputs| {
        let shape = TransposedShape {
            outputs,
            ..shape.clone()
        };
        shape.forward_bytes()
    };
    assert_eq!(bytes(33), 4 * 64 * 40 * 4);
    assert_eq!(bytes(7), 4 * 64 * 7 * 4);
    shape.geometry.stride = [5, 2];
    assert!(!shape.is_taken());
    // Of stride 1 it is a convolution.
    shape.geometry = geometry([3, 3], [1, 1], [24, 24]);
    assert_eq!(
        shape.algorithm(core::slice::from_ref(&(0..32))),
        Algorithm::Winograd
    );
    assert_eq!(shape.forward_bytes(), 4 * 16 * 32 * 64);
    assert_eq!(shape.backward_bytes(), 4 * 16 * 64 * 32);
}

#[test]
fn outputs_are_in_the_lanes_where_rows_are_short_or_read_with_a_stride() {
    let in_lanes = |shape: &ConvShape| {
        [WeightUse::Once, WeightUse::Kept]
            .map(|weight| shape.algorithm(weight))
            .iter()
            .all(|algorithm| *algorithm == Algorithm::OutputsInLanes)
    };
    let of_kernel = |kernel, stride, outputs, size| ConvShape {
        geometry: Geometry {
            stride,
            ..geometry(kernel, [kernel[0] as isize / 2; 2], size)
        },
        ..plain(2, [24, outputs], size)
    };
    let (one, two) = ([1, 1], [2, 2]);
    let pointwise = |outputs, size, stride| of_kernel(one, stride, outputs, size);
    assert!(in_lanes(&pointwise(16, [7, 7], one)));
    assert!(in_lanes(&pointwise(16, [1, 1], one)));
    // No vector of outputs; positions that share cache sets; more sums than a task has for what it packs.
    assert!(!in_lanes(&pointwise(15, [7, 7], one)));
    assert!(!in_lanes(&pointwise(16, [64, 64], one)));
    assert!(in_lanes(&pointwise(128, [7, 7], two)));
    assert!(!in_lanes(&pointwise(129, [7, 7], two)));
    // Two vectors of outputs and a short row, or one and a stride.
    assert!(in_lanes(&of_kernel([5, 5], one, 32, [40, 32])));
    assert!(!in_lanes(&of_kernel([5, 5], one, 32, [40, 33])));
    assert!(!in_lanes(&of_kernel([5, 5], one, 31, [40, 32])));
    assert!(in_lanes(&of_kernel([5, 5], two, 16, [40, 99])));
    assert!(!in_lanes(&of_kernel([1, 5], [1, 2], 16, [1, 99])));
    let enlarged = ConvShape {
        sources: vec![doubled(24, [7, 7])],
        ..pointwise(16, [14, 14], one)
    };
    assert!(!in_lanes(&enlarged));
}

#[test]
fn gradients_with_outputs_in_the_lanes_turn_no_weight() {
    let pointwise = |outputs, size: [usize; 2]| ConvShape {
        geometry: geometry([1, 1], [0, 0], size),
        ..plain(2, [24, outputs], size)
    };
    // The gradient of sources that lie together in the weight reads it where it is.
    let sources = [20, 4, 8].map(|channels| SourceShape::plain(channels, [7, 7]));
    let shape = ConvShape {
        sources: sources.to_vec(),
        ..pointwise(30, [7, 7])
    };
    let bytes = |needed: [bool; 3]| {
        let gradient = |is_needed| SourceGradient {
            is_needed,
            has_norm: false,
        };
        shape.backward_bytes(&needed.map(gradient))
    };
    assert_eq!(bytes([true, true, true]), 0);
    assert_eq!(bytes([true, true, false]), 0);
    assert_eq!(bytes([false, false, true]), 4 * 30 * 8);
    assert_eq!(bytes([true, false, true]), 4 * 30 * 28);
    // A 3x3 kernel is read turned by 180 degrees.
    let small = plain(2, [32, 40], [7, 7]);
    assert_eq!(small.backward_bytes(&[NEEDED]), 0);
}

#[test]
fn the_weight_gradient_has_its_own_thresholds() {
    let by = |shape: &ConvShape| shape.weight_gradient_algorithm();
    assert_eq!(by(&plain(1, [32, 16], [16, 16])), Algorithm::Winograd);
    assert_eq!(by(&plain(1, [32, 15], [16, 16])), Algorithm::Direct);
    assert_eq!(by(&plain(1, [31, 16], [16, 16])), Algorithm::Direct);
    assert_eq!(by(&plain(1, [32, 16], [15, 17])), Algorithm::Direct); // 255 positions
    assert_eq!(by(&plain(9, [32, 16], [7, 9])), Algorithm::Direct); // 63 in a map
    // 16 components of 2048 tiles of 32 channels are the most.
    assert_eq!(by(&plain(1, [32, 16], [8, 4096])), Algorithm::Winograd);
    assert_eq!(by(&plain(1, [32, 16], [8, 4097])), Algorithm::Direct);
}

#[test]
fn what_the_kernels_take() {
    let shape = plain(1, [4, 4], [32, 32]);
    assert!(shape.is_taken());
    let with = |change: &dyn Fn(&mut ConvShape)| {
        let mut shape = shape.clone();
        change(&mut shape);
        shape.is_taken()
    };
    assert!(with(&|shape| shape.geometry.stride = [4, 1]));
    assert!(!with(&|shape| shape.geometry.stride = [5, 1]));
    assert!(with(&|shape| shape.geometry.groups = 2));
    assert!(with(&|shape| shape.sources = vec![shape.sources[0]; 37]));
    assert!(!with(&|shape| shape.sources = vec![shape.sources[0]; 38]));
    assert!(!with(&|shape| {
        shape.geometry.groups = 2;
        shape.sources = vec![shape.sources[0]; 2];
    }));
    assert!(with(&|shape| shape.sources[0].factors = [2, 2]));
    assert!(!with(&|shape| {
        shape.sources[0].factors = [2, 2];
        shape.geometry.dilation = [2, 1];
    }));
    assert!(!with(&|shape| shape.sources.clear()));
}

#[test]
fn rows_that_a_thread_cannot_lay_out_are_left_to_burn() {
    // (2^22 - 2 * 4) / 4 columns, three rows at a time.
    assert!(plain(1, [4, 4], [8, (1 << 20) / 3 - 2]).is_taken());
    assert!(!plain(1, [4, 4], [8, (1 << 20) / 3]).is_taken());
    // A row of any length is divided into pieces, but for the reach of the kernel.
    let along = |length: usize, taps: usize| ConvShape {
        geometry: geometry([1, taps], [0, 1], [1, length]),
        batch: 1,
        sources: vec![SourceShape::new(8, &[length], &[1]).unwrap()],
        outputs: 4,
    };
    assert!(along(1 << 30, 3).is_taken());
    assert!(along(1 << 30, 100_001).is_taken());
    assert!(!along(1 << 30, 110_001).is_taken());
    assert_eq!(pieces_of_line(8192, 2), [32, 256]);
    assert_eq!(pieces_of_line(1000, 2), [4, 256]);
    assert_eq!(pieces_of_line(1000, 100), [3, 336]);
    assert_eq!(pieces_of_line(7, 2), [1, 7]);
    let huge = plain(1, [usize::MAX, 4], [usize::MAX, usize::MAX]);
    assert!(!huge.is_taken());
    assert_eq!(huge.prepared_bytes(WeightUse::Once), 0);
}

#[test]
fn one_axis_is_a_map_of_one_row() {
    let numbers = AxisNumbers {
        kernel_size: &[5],
        stride: &[2],
        dilation: &[3],
        pad_start: &[4],
    };
    let geometry = Geometry::new(numbers, 6, &[7]).unwrap();
    let wanted = Geometry {
        kernel: [1, 5],
        stride: [1, 2],
        dilation: [1, 3],
        pad: [0, 4],
        groups: 6,
        size: [1, 7],
        depth: Depth::FLAT,
    };
    assert_eq!(geometry, wanted);
}

#[test]
fn a_volume_is_a_map_for_each_slice_with_channels_for_each_tap_of_the_depth() {
    let numbers = AxisNumbers {
        kernel_size: &[3, 3, 3],
        stride: &[1, 1, 1],
        dilation: &[1, 1, 1],
        pad_start: &[1, 1, 1],
    };
    let mut shape = ConvShape {
        geometry: Geometry::new(numbers, 1, &[8, 24, 24]).unwrap(),
        batch: 1,
        sources: vec![SourceShape::new(12, &[8, 24, 24], &[1, 1, 1]).unwrap()],
        outputs: 32,
    };
    assert!(shape.is_taken());
    assert_eq!([shape.inputs(), shape.seen_channels()], [12, 36]);
    assert_eq!(shape.geometry.taps(), 27);
    // 36 channels are enough, and 4608 positions.
    assert_eq!(shape.algorithm(WeightUse::Once), Algorithm::Winograd);
    assert_eq!(shape.prepared_bytes(WeightUse::Once), 4 * 16 * 32 * 36);
    assert_eq!(shape.weight_gradient_algorithm(), Algorithm::Winograd);
    let size = Axes {
        depth: 8,
        plane: [24, 24],
    };
    assert_eq!(shape.input_gradient(12, size).depth_taps(), 3);
    // With a stride, each slice is reached by every second tap; by all or none, if the dilation is even, too.
    shape.geometry.depth.stride = 2;
    assert_eq!(shape.input_gradient(12, size).depth_taps(), 2);
    shape.geometry.depth.dilation = 2;
    assert_eq!(shape.input_gradient(12, size).depth_taps(), 3);
    // A stride makes a phase of the gradient for each of its steps, and there is memory for four.
    shape.geometry.depth.stride = 4;
    assert!(shape.is_taken());
    shape.geometry.depth.stride = 5;
    assert!(!shape.is_taken());
    // Slices that are repeated are read where they are.
    let repeated = ConvShape {
        sources: vec![SourceShape::new(12, &[4, 24, 24], &[2, 1, 1]).unwrap()],
        geometry: Geometry::new(numbers, 1, &[8, 24, 24]).unwrap(),
        ..shape
    };
    assert!(repeated.is_taken());
    assert_eq!(repeated.algorithm(WeightUse::Once), Algorithm::Winograd);
    let four = AxisNumbers {
        kernel_size: &[1; 4],
        stride: &[1; 4],
        dilation: &[1; 4],
        pad_start: &[0; 4],
    };
    assert_eq!(Geometry::new(four, 1, &[2; 4]), None);
}

#[test]
fn what_follows_a_convolution() {
    assert!(fuses_epilogue(false));
    assert!(!fuses_epilogue(true));
    let relu = FusedActivation::Piecewise(Piecewise::RELU);
    let identity = FusedActivation::IDENTITY;
    assert!(defers_norm(false, relu));
    assert!(!defers_norm(true, relu));
    assert!(!defers_norm(false, identity));
    assert!(norm_saves_output(true, relu));
    assert!(!norm_saves_output(true, identity));
    assert!(!norm_saves_output(false, relu));
    assert!(takes_max_pool([4, 4], [2, 2]));
    assert!(!takes_max_pool([4, 0], [2, 0]));
}

#[test]
fn what_becomes_of_an_activation() {
    let piecewise = |negative_slope, max| {
        FusedActivation::Piecewise(Piecewise {
            negative_slope,
            max,
        })
    };
    let leaky = |negative_slope| piecewise(negative_slope, f32::INFINITY);
    // What costs little is applied as the map is read, and its output tells its derivative.
    for little in [piecewise(0.0, 6.0), leaky(0.1)] {
        assert!(little.is_deferred() && little.is_told_by_output());
        assert!(little.is_fused_with_norm(true));
    }
    // Of -1 and 1 such a function makes the same.
    assert!(!leaky(-1.0).is_told_by_output());
    let gelu = FusedActivation::Curved(Curved::Gelu);
    assert!(!gelu.is_deferred() && !gelu.is_told_by_output());
    assert!(gelu.is_fused_with_norm(false) && !gelu.is_fused_with_norm(true));
}
