//! Files of images, written here byte by byte, so that the program's readers are not tested by its own writers.
#![allow(dead_code)] // Each test uses a part.

/// How the bands of a TIFF lie.
#[derive(Clone, Copy, PartialEq)]
pub enum Bands {
    BesideEachOther,
    Planes,
}

/// An uncompressed TIFF of 16 bits, grey (PhotometricInterpretation 1): `pages[page][band]` is a map of
/// `height` x `width`.
pub fn tiff([height, width]: [u32; 2], pages: &[Vec<Vec<u16>>], bands: Bands) -> Vec<u8> {
    let mut file = b"II\x2a\0\0\0\0\0".to_vec();
    let mut link = 4;
    for page in pages {
        let count = page.len() as u32;
        let numbers: Vec<u16> = match bands {
            Bands::Planes => page.concat(),
            Bands::BesideEachOther => (0..page[0].len())
                .flat_map(|at| page.iter().map(move |map| map[at]))
                .collect(),
        };
        let start = file.len() as u32;
        file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let plane = 2 * height * width;
        let (strips, bytes) = match bands {
            Bands::Planes => (count, plane),
            Bands::BesideEachOther => (1, plane * count),
        };
        // Longer lists lie before the directory.
        let mut list = |values: Vec<u32>, size: usize| match values.len() * size {
            0..=4 => values[0],
            _ => {
                let at = file.len() as u32;
                file.extend(values.iter().flat_map(|v| v.to_le_bytes()[..size].to_vec()));
                at
            }
        };
        let offsets = list((0..strips).map(|n| start + n * bytes).collect(), 4);
        let lengths = list(vec![bytes; strips as usize], 4);
        let bits = match count {
            2 => 16 << 16 | 16,
            _ => list(vec![16; count as usize], 2),
        };
        let planar = if bands == Bands::Planes { 2 } else { 1 };
        let tags: [(u16, u16, u32, u32); 10] = [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, count, bits),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, strips, offsets),
            (277, 3, 1, count),
            (278, 4, 1, height),
            (279, 4, strips, lengths),
            (284, 3, 1, planar),
        ];
        let directory = file.len() as u32;
        file[link..link + 4].copy_from_slice(&directory.to_le_bytes());
        file.extend((tags.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in tags {
            file.extend(tag.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend(count.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        link = file.len();
        file.extend([0; 4]);
    }
    file
}

/// A NIfTI-1 file of floats: `shape` is that of the array, the fastest axis last, and `spacing` its millimetres.
pub fn nifti(shape: &[usize], spacing: &[f32], values: &[f32]) -> Vec<u8> {
    let mut header = vec![0; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348_i32.to_le_bytes());
    put(40, &(shape.len() as i16).to_le_bytes());
    for (axis, (length, step)) in shape.iter().rev().zip(spacing.iter().rev()).enumerate() {
        put(42 + 2 * axis, &(*length as i16).to_le_bytes());
        put(80 + 4 * axis, &step.to_le_bytes());
    }
    put(70, &16_i16.to_le_bytes());
    put(72, &32_i16.to_le_bytes());
    put(108, &352_f32.to_le_bytes());
    put(123, &[2]);
    // An orientation, which predictions keep.
    put(254, &1_i16.to_le_bytes());
    put(280, &(-7.5_f32).to_le_bytes());
    put(344, b"n+1\0");
    header.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    header
}

/// A file of NumPy, of floats.
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let shape: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}
