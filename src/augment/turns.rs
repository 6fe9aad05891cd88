//! Turns that put a square onto itself: what [`Transpose`](super::Transform::Transpose) and
//! [`QuarterTurn`](super::Transform::QuarterTurn) do.

use super::draws::Draws;
use super::warp::{Matrix, PullBack};

/// Swaps rows and columns where there are as many.
pub(super) fn transpose([_, height, width]: [usize; 3]) -> PullBack {
    let mut matrix = Matrix::IDENTITY;
    if height == width {
        matrix.0.swap(1, 2);
    }
    PullBack::Linear(matrix)
}

/// One, two or three quarter turns; two where there are not as many rows as columns.
pub(super) fn quarter_turn([_, height, width]: [usize; 3], draws: &mut Draws<'_>) -> PullBack {
    let turns = 1 + draws.below(3);
    let [cos, sin] = match turns {
        1 if height == width => [0.0, 1.0],
        3 if height == width => [0.0, -1.0],
        _ => [-1.0, 0.0],
    };
    PullBack::Linear(Matrix::rotation([2, 1], cos, sin))
}
