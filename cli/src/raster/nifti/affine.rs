//! Where the pixels of a NIfTI file lie in the world: its sform and its qform
//! (<https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields/nifti1fields_pages/qsform.html>).

use super::{Header, PIXDIM};

const QFORM_CODE: usize = 252;
const SFORM_CODE: usize = 254;
const QUATERN: usize = 256;
const QOFFSET: usize = 268;
const SROW: usize = 280;

/// The place of the pixel `(i, j, k)`, which is `[x, y, z]`: each row has the factors of i, j and k, and what is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine([[f64; 4]; 3]);

impl Affine {
    /// Where a pixel lies; its indices are in the order x, y, z.
    pub fn place(&self, pixel: [usize; 3]) -> [f64; 3] {
        let [i, j, k] = pixel.map(|index| index as f64);
        self.0
            .map(|[x, y, z, offset]| x * i + y * j + z * k + offset)
    }
}

impl Header {
    /// The sform and the qform, those that the file has.
    pub fn affines(&self) -> Vec<Affine> {
        let sform = (self.i16(SFORM_CODE) > 0).then(|| self.sform());
        let qform = (self.i16(QFORM_CODE) > 0).then(|| self.qform());
        sform.into_iter().chain(qform).collect()
    }

    fn numbers<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|n| f64::from(self.f32(at + 4 * n)))
    }

    fn sform(&self) -> Affine {
        Affine([0, 1, 2].map(|row| self.numbers(SROW + 16 * row)))
    }

    /// A rotation by a quaternion whose first number follows from the others, then the distances of the pixels.
    fn qform(&self) -> Affine {
        let [b, c, d] = self.numbers(QUATERN);
        let offset: [f64; 3] = self.numbers(QOFFSET);
        let [side, x, y, z] = self.numbers(PIXDIM);
        let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
        let z = if side < 0.0 { -z } else { z };
        let rotation = [
            [
                a * a + b * b - c * c - d * d,
                2.0 * (b * c - a * d),
                2.0 * (b * d + a * c),
            ],
            [
                2.0 * (b * c + a * d),
                a * a + c * c - b * b - d * d,
                2.0 * (c * d - a * b),
            ],
            [
                2.0 * (b * d - a * c),
                2.0 * (c * d + a * b),
                a * a + d * d - b * b - c * c,
            ],
        ];
        let row = |n: usize| {
            let [i, j, k] = rotation[n];
            [i * x, j * y, k * z, offset[n]]
        };
        Affine([0, 1, 2].map(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_where_a_pixel_lies() {
        let mut header = Header::empty();
        assert_eq!(header.affines(), []);
        header.set_i16(SFORM_CODE, 1);
        for (n, number) in [0.0, 0.0, 3.0, 5.0, 2.0, 0.0, 0.0, 6.0, 0.0, 1.0, 0.0, 7.0]
            .into_iter()
            .enumerate()
        {
            header.set_f32(SROW + 4 * n, number);
        }
        let [sform] = header.affines()[..] else {
            panic!("one form");
        };
        assert_eq!(sform.place([1, 2, 3]), [14.0, 8.0, 9.0]);
        // A quarter turn about z: x goes to y, and y to -x.
        header.set_i16(SFORM_CODE, 0);
        header.set_i16(QFORM_CODE, 1);
        header.set_f32(QUATERN + 8, 0.5_f32.sqrt());
        for (n, number) in [-1.0, 2.0, 3.0, 4.0].into_iter().enumerate() {
            header.set_f32(PIXDIM + 4 * n, number);
        }
        header.set_f32(QOFFSET, 10.0);
        let [qform] = header.affines()[..] else {
            panic!("one form");
        };
        let place = qform.place([1, 1, 1]);
        for (found, expected) in place.into_iter().zip([7.0, 2.0, -4.0]) {
            assert!((found - expected).abs() < 1e-6, "{place:?}");
        }
    }
}
