//! Files of every layout that is read, written here byte by byte.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::ZlibEncoder;
use weezl::BitOrder;

use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::RasterFile;
use crate::raster::format::FileKind;

/// How the numbers of a file lie.
#[derive(Clone, Copy, Debug)]
struct Kind {
    big_endian: bool,
    /// Sides of a tile; rows of a strip and 0.
    chunk: [usize; 2],
    is_planar: bool,
    has_predictor: bool,
    compression: u16,
}

const SIZE: [usize; 2] = [150, 70];
const BANDS: usize = 3;
const PAGES: usize = 2;

/// The value of a pixel. (Products, so that neighbours differ by more than a byte.)
fn value(page: usize, band: usize, y: usize, x: usize) -> u16 {
    ((y * 977 + x * 31) * (band + 1) + 20_000 * page) as u16
}

impl Kind {
    fn number(self, number: u16) -> [u8; 2] {
        match self.big_endian {
            true => number.to_be_bytes(),
            false => number.to_le_bytes(),
        }
    }

    fn long(self, number: usize) -> [u8; 4] {
        match self.big_endian {
            true => (number as u32).to_be_bytes(),
            false => (number as u32).to_le_bytes(),
        }
    }

    /// The compressed bytes of each strip or tile of a page.
    fn chunks(self, page: usize) -> Vec<Vec<u8>> {
        let [height, width] = SIZE;
        let is_tiled = self.chunk[1] > 0;
        let [rows, columns] = if is_tiled {
            self.chunk
        } else {
            [self.chunk[0], width]
        };
        let planes: Vec<Vec<usize>> = match self.is_planar {
            true => (0..BANDS).map(|band| vec![band]).collect(),
            false => vec![(0..BANDS).collect()],
        };
        let mut chunks = Vec::new();
        for bands in &planes {
            for top in (0..height).step_by(rows) {
                for left in (0..width).step_by(columns) {
                    let end = if is_tiled {
                        top + rows
                    } else {
                        height.min(top + rows)
                    };
                    let line = |y: usize| {
                        let places =
                            (left..left + columns).flat_map(|x| bands.iter().map(move |&b| (x, b)));
                        let numbers: Vec<u16> =
                            places.map(|(x, band)| value(page, band, y, x)).collect();
                        let step = bands.len();
                        let stored = |at: usize| match self.has_predictor && at >= step {
                            true => numbers[at].wrapping_sub(numbers[at - step]),
                            false => numbers[at],
                        };
                        (0..numbers.len())
                            .flat_map(|at| self.number(stored(at)))
                            .collect::<Vec<_>>()
                    };
                    let bytes: Vec<u8> = (top..end).flat_map(line).collect();
                    chunks.push(self.compressed(&bytes));
                }
            }
        }
        chunks
    }

    fn compressed(self, bytes: &[u8]) -> Vec<u8> {
        match self.compression {
            1 => bytes.to_vec(),
            5 => weezl::encode::Encoder::with_tiff_size_switch(BitOrder::Msb, 8)
                .encode(bytes)
                .unwrap(),
            8 => {
                let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            _ => {
                let runs = bytes.chunks(128);
                let literal = |run: &[u8]| [&[run.len() as u8 - 1], run].concat();
                runs.flat_map(literal).collect()
            }
        }
    }

    fn file(self) -> Vec<u8> {
        let mut file = if self.big_endian {
            b"MM".to_vec()
        } else {
            b"II".to_vec()
        };
        file.extend(self.number(42));
        let mut link = file.len();
        file.extend([0; 4]);
        for page in 0..PAGES {
            let (mut offsets, mut lengths) = (Vec::new(), Vec::new());
            for chunk in self.chunks(page) {
                offsets.push(file.len());
                lengths.push(chunk.len());
                file.extend(chunk);
            }
            let mut list = |values: &[usize]| {
                let at = file.len();
                file.extend(values.iter().flat_map(|&value| self.long(value)));
                if values.len() == 1 { values[0] } else { at }
            };
            let (count, offsets, lengths) = (offsets.len(), list(&offsets), list(&lengths));
            let bits = file.len();
            file.extend([16; BANDS].map(|bits| self.number(bits)).concat());
            let tiled = if self.chunk[1] > 0 {
                [322, 323, 324, 325]
            } else {
                [0, 278, 273, 279]
            };
            let mut tags = vec![
                (256, 1, SIZE[1]),
                (257, 1, SIZE[0]),
                (259, 1, self.compression.into()),
                (262, 1, 1),
                (277, 1, BANDS),
                (284, 1, if self.is_planar { 2 } else { 1 }),
                (317, 1, if self.has_predictor { 2 } else { 1 }),
                (tiled[0], 1, self.chunk[1]),
                (tiled[1], 1, self.chunk[0]),
                (tiled[2], count, offsets),
                (tiled[3], count, lengths),
            ];
            tags.retain(|&(tag, ..)| tag > 0);
            tags.sort_unstable();
            let directory = self.long(file.len());
            file[link..link + 4].copy_from_slice(&directory);
            file.extend(self.number(tags.len() as u16 + 1));
            for (tag, count, value) in tags {
                let [tag, long] = [tag, 4].map(|number| self.number(number));
                file.extend([&tag[..], &long, &self.long(count), &self.long(value)].concat());
                if tag == self.number(257) {
                    // Of the bits there are as many as bands, each of 16 bits.
                    let [tag, short] = [258, 3].map(|number| self.number(number));
                    file.extend([&tag[..], &short, &self.long(BANDS), &self.long(bits)].concat());
                }
            }
            link = file.len();
            file.extend([0; 4]);
        }
        file
    }
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for chunk in [[150, 0], [32, 0], [64, 32]] {
        for compression in [1, 5, 8, 32773] {
            for (number, is_planar) in [false, true].into_iter().enumerate() {
                for has_predictor in [false, true] {
                    kinds.push(Kind {
                        big_endian: (number + usize::from(has_predictor)).is_multiple_of(2),
                        chunk,
                        is_planar,
                        has_predictor,
                        compression,
                    });
                }
            }
        }
    }
    kinds
}

fn read(path: &Path, limit: &ImageLimits) -> Result<RasterFile> {
    super::read(path, FileKind::Image, limit)
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("burn-skip-{name}-{}.tif", std::process::id()))
}

#[test]
fn every_layout_is_read_into_memory_and_into_a_file() {
    let path = path("layouts");
    let mut expected = Vec::new();
    for band in 0..BANDS {
        for page in 0..PAGES {
            for y in 0..SIZE[0] {
                expected.extend((0..SIZE[1]).map(|x| f32::from(value(page, band, y, x))));
            }
        }
    }
    for kind in kinds() {
        std::fs::write(&path, kind.file()).unwrap();
        for budget in [1 << 30, 0] {
            let file = read(&path, &ImageLimits::of_bytes(budget));
            let raster = file.unwrap_or_else(|e| panic!("{kind:?}: {e}")).raster;
            assert_eq!(raster.values.is_in_memory(), budget > 0);
            assert_eq!(
                (raster.channels, &raster.size[..]),
                (BANDS, &[PAGES, 150, 70][..])
            );
            assert!(raster.values == expected, "{kind:?}, budget {budget}");
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_strip_that_ends_too_early_is_told_of() {
    let path = path("cut-off");
    for compression in [1, 5, 8, 32773] {
        let kind = Kind {
            big_endian: false,
            chunk: [150, 0],
            is_planar: false,
            has_predictor: false,
            compression,
        };
        let mut file = kind.file();
        // The strip of the last page, said to be half as long.
        let length = kind.chunks(PAGES - 1)[0].len();
        let [whole, half] = [length, length / 2].map(|length| kind.long(length));
        let place = file.windows(4).rposition(|bytes| bytes == whole).unwrap();
        file[place..place + 4].copy_from_slice(&half);
        std::fs::write(&path, file).unwrap();
        let error = read(&path, &ImageLimits::of_bytes(0)).unwrap_err();
        let end = match compression {
            8 => "it is damaged: incomplete deflate stream. Copy or save it again.",
            _ => "it is cut off. Copy or save it again.",
        };
        assert!(error.to_string().ends_with(end), "{compression}: {error}");
    }
    std::fs::remove_file(&path).unwrap();
}

/// As tifffile writes a boolean array: of one bit, where 0 is said to be white.
#[test]
fn a_mask_has_the_numbers_of_its_file_where_0_is_white() {
    let path = path("white");
    let mut file = b"II\x2a\0\x0a\0\0\0\x60\0".to_vec();
    let tags: [(u16, u32); 7] = [
        (256, 4),
        (257, 1),
        (258, 1),
        (262, 0),
        (273, 8),
        (278, 1),
        (279, 1),
    ];
    file.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        file.extend([tag.to_le_bytes(), 4_u16.to_le_bytes()].concat());
        file.extend([1_u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend([0; 4]);
    std::fs::write(&path, file).unwrap();
    let read = |kind| super::read(&path, kind, &ImageLimits::of_bytes(1 << 10));
    let [image, mask] = [FileKind::Image, FileKind::Mask].map(|kind| read(kind).unwrap());
    assert_eq!(mask.raster.values, [0.0, 1.0, 1.0, 0.0]);
    assert_eq!(image.raster.values, [1.0, 0.0, 0.0, 1.0]);
    std::fs::remove_file(&path).unwrap();
}
