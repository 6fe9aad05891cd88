//! The strips or tiles of a page, and the numbers in them (TIFF 6.0, sections 7 and 15).

use std::io::{Read, Seek, SeekFrom};

use tiff::TiffResult;
use tiff::decoder::Decoder;
use tiff::tags::Tag;

use super::compression::{damaged, decompressed};
use super::predictor::{add_up, join_bytes};
use crate::raster::number::{Kind, Number};

/// How the numbers of a page lie in the file.
pub struct Layout {
    /// `[height, width]`
    pub size: [usize; 2],
    pub bands: usize,
    /// The code of what the bands mean: 2 for red, green and blue.
    pub photometric: u32,
    pub has_alpha: bool,
    /// Bits of a number.
    bits: usize,
    /// The code of its kind.
    format: u32,
    compression: u32,
    predictor: u32,
    /// Each band by itself, and not beside the others.
    is_planar: bool,
    big_endian: bool,
    /// `[height, width]` of a strip or a tile, and whether those at the edges are as large as the others.
    chunk: [usize; 2],
    is_tiled: bool,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

/// Where the bands of a page belong: its first band at `first`, and each other `step` values behind the one before.
pub struct Maps<'a> {
    pub values: &'a mut [f32],
    pub first: usize,
    pub step: usize,
}

/// Lines of a strip or a tile, each of `columns` times `bands` numbers.
#[derive(Clone, Copy)]
struct Lines {
    columns: usize,
    bands: usize,
    /// Bytes of a line.
    bytes: usize,
}

/// Codes of grey.
const WHITE_IS_ZERO: u32 = 0;
const BLACK_IS_ZERO: u32 = 1;

const CUT_OFF: &str = "it is cut off. Copy or save it again.";

/// So many bytes of a strip or a tile are decoded at once, and no less than a line.
const BYTES_AT_ONCE: usize = 1 << 15;

impl Layout {
    /// The page that the decoder is at. (Its byte order is of a type that is private.)
    pub fn of<R: Read + Seek>(decoder: &mut Decoder<R>, big_endian: bool) -> TiffResult<Self> {
        let (width, height) = decoder.dimensions()?;
        let size = [height as usize, width as usize];
        let mut get = |tag, default: u32| -> TiffResult<u32> {
            // (Of tags with a number for each band, the first: the decoder has refused bands of several types.)
            let values = decoder.find_tag_unsigned_vec(tag)?;
            let first = values.and_then(|values: Vec<u32>| values.first().copied());
            Ok(first.unwrap_or(default))
        };
        let bands = get(Tag::SamplesPerPixel, 1)? as usize;
        let bits = get(Tag::BitsPerSample, 1)? as usize;
        let format = get(Tag::SampleFormat, 1)?;
        let compression = get(Tag::Compression, 1)?;
        let predictor = get(Tag::Predictor, 1)?;
        let is_planar = get(Tag::PlanarConfiguration, 1)? == 2;
        let photometric = get(Tag::PhotometricInterpretation, 1)?;
        // (1 and 2 are opacity, 0 is anything.)
        let has_alpha = matches!(get(Tag::ExtraSamples, 0)?, 1 | 2);
        let tile = [get(Tag::TileLength, 0)?, get(Tag::TileWidth, 0)?];
        let rows = get(Tag::RowsPerStrip, height)?.min(height);
        let is_tiled = tile[1] > 0;
        let (chunk, offsets, lengths) = match is_tiled {
            true => (tile, Tag::TileOffsets, Tag::TileByteCounts),
            false => ([rows, width], Tag::StripOffsets, Tag::StripByteCounts),
        };
        Ok(Self {
            size,
            bands,
            photometric,
            has_alpha,
            bits,
            format,
            compression,
            predictor,
            is_planar,
            big_endian,
            chunk: chunk.map(|length| length as usize),
            is_tiled,
            offsets: decoder.find_tag_unsigned_vec(offsets)?.unwrap_or_default(),
            lengths: decoder.find_tag_unsigned_vec(lengths)?.unwrap_or_default(),
        })
    }

    /// Takes the numbers of a mask as they are stored, also where 0 is white: they are classes or objects, and no
    /// brightness. (tifffile and ImageIO do not invert them either.)
    pub fn keep_numbers(&mut self) {
        if self.photometric == WHITE_IS_ZERO {
            self.photometric = BLACK_IS_ZERO;
        }
    }

    pub fn is_like(&self, other: &Self) -> bool {
        (self.size, self.bands, self.bits, self.format)
            == (other.size, other.bands, other.bits, other.format)
    }

    /// "384 x 512 (height x width) of 3 bands of 8 bits"
    pub fn shown(&self) -> String {
        let size = crate::raster::shown_size(&self.size);
        format!("{size} of {} bands of {} bits", self.bands, self.bits)
    }

    /// Reads the values of the page.
    ///
    /// # Errors
    /// When the page is damaged, or stored in a way that is not read.
    pub fn decode(&self, file: &mut (impl Read + Seek), maps: &mut Maps) -> Result<(), String> {
        self.check()?;
        let [height, width] = self.size;
        let [chunk_height, chunk_width] = self.chunk;
        let (down, across) = (height.div_ceil(chunk_height), width.div_ceil(chunk_width));
        let (planes, bands) = match self.is_planar {
            true => (self.bands, 1),
            false => (1, self.bands),
        };
        let lines = self.lines(chunk_width, bands)?;
        let at_once = (BYTES_AT_ONCE / lines.bytes.max(1)).max(1);
        let mut numbers = Vec::new();
        for index in 0..planes * down * across {
            let [top, left] = [
                index / across % down * chunk_height,
                index % across * chunk_width,
            ];
            let rows = chunk_height.min(height - top);
            let columns = chunk_width.min(width - left);
            let stored = if self.is_tiled { chunk_height } else { rows };
            let mut chunk = self.chunk(file, index, lines, stored)?;
            let first_band = index / across / down;
            for start in (0..rows).step_by(at_once) {
                let rows = start..rows.min(start + at_once);
                self.read(&mut chunk, lines, rows.len(), &mut numbers)?;
                for (y, line) in rows.zip(numbers.chunks_exact(lines.columns * bands)) {
                    for band in 0..bands {
                        let map = maps.first + (first_band + band) * maps.step;
                        let at = map + (top + y) * width + left;
                        let of_band = line.iter().skip(band).step_by(bands);
                        let values = &mut maps.values[at..at + columns];
                        for (value, &number) in values.iter_mut().zip(of_band) {
                            *value = number;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses what the numbers cannot be read of.
    fn check(&self) -> Result<(), String> {
        const READ: [u32; 5] = [WHITE_IS_ZERO, BLACK_IS_ZERO, 2, 3, 5];
        if !READ.contains(&self.photometric) {
            return Err(format!(
                "its colours are of the kind {} (PhotometricInterpretation). Save it as RGB or grey.",
                self.photometric
            ));
        }
        if self.photometric == WHITE_IS_ZERO && self.format != 1 {
            return Err("its white is 0, of numbers with a sign. Save it with black as 0.".into());
        }
        if self.chunk.contains(&0) || self.bands == 0 {
            return Err("its strips have no rows".into());
        }
        if self.bits < 8
            && (self.bands > 1 || self.predictor != 1 || !matches!(self.bits, 1 | 2 | 4))
        {
            return Err(self.unknown_numbers());
        }
        Ok(())
    }

    fn unknown_numbers(&self) -> String {
        format!(
            "it has {} bands of {} bits (SampleFormat {}, Predictor {}), which are not read. Save whole numbers of 8 to 64 \
             bits, or floats of 32 or 64.",
            self.bands, self.bits, self.format, self.predictor
        )
    }

    fn lines(&self, columns: usize, bands: usize) -> Result<Lines, String> {
        let numbers = columns.checked_mul(bands);
        let bits = numbers.and_then(|numbers| numbers.checked_mul(self.bits));
        let bytes = bits.ok_or(CUT_OFF)?.div_ceil(8);
        Ok(Lines {
            columns,
            bands,
            bytes,
        })
    }

    /// The decompressed bytes of a strip or a tile of so many rows.
    fn chunk<'f>(
        &self,
        file: &'f mut (impl Read + Seek),
        index: usize,
        lines: Lines,
        rows: usize,
    ) -> Result<Box<dyn Read + 'f>, String> {
        let expected = lines.bytes.checked_mul(rows);
        let expected = expected.filter(|&bytes| bytes <= 1 << 40).ok_or(CUT_OFF)?;
        let (offset, length) = (self.offsets.get(index), self.lengths.get(index));
        let (&offset, &length) = offset.zip(length).ok_or(CUT_OFF)?;
        file.seek(SeekFrom::Start(offset)).map_err(|_| CUT_OFF)?;
        decompressed(self.compression, file.take(length), expected)
    }

    /// Reads the numbers of so many lines.
    fn read(
        &self,
        chunk: &mut impl Read,
        lines: Lines,
        count: usize,
        numbers: &mut Vec<f32>,
    ) -> Result<(), String> {
        let expected = lines.bytes * count;
        // (It grows as it is read: nobody allocates what a damaged file claims.)
        let mut bytes = Vec::new();
        let read = chunk.take(expected as u64).read_to_end(&mut bytes);
        if read.map_err(|e| damaged(&e))? < expected {
            return Err(CUT_OFF.into());
        }
        numbers.clear();
        numbers.resize(count * lines.columns * lines.bands, 0.0);
        match self.bits {
            1 | 2 | 4 => self.unpack(&bytes, lines, numbers),
            _ => self.numbers(&mut bytes, lines, numbers)?,
        }
        if self.photometric == WHITE_IS_ZERO {
            let white = ((1_u64 << self.bits.min(63)) - 1) as f32;
            numbers.iter_mut().for_each(|value| *value = white - *value);
        }
        Ok(())
    }

    /// The numbers of some bytes, of which the predictor is undone.
    fn numbers(&self, bytes: &mut [u8], lines: Lines, numbers: &mut [f32]) -> Result<(), String> {
        let kind = match self.format {
            1 => Kind::Unsigned,
            2 => Kind::Signed,
            3 => Kind::Float,
            _ => return Err(self.unknown_numbers()),
        };
        let number = Number::new(kind, self.bits / 8).filter(|_| self.bits.is_multiple_of(8));
        let number = number.ok_or_else(|| self.unknown_numbers())?;
        for line in bytes.chunks_exact_mut(lines.bytes) {
            match (self.predictor, kind) {
                (1, _) => {}
                (2, Kind::Unsigned | Kind::Signed) => {
                    add_up(line, number.bytes, lines.bands, self.big_endian)
                }
                (3, Kind::Float) => join_bytes(line, number.bytes, lines.bands),
                _ => return Err(self.unknown_numbers()),
            }
        }
        // The predictor of floats stores the highest bytes first.
        number.decode(bytes, self.big_endian || self.predictor == 3, numbers);
        Ok(())
    }

    /// Numbers of less than a byte, the highest bits first; a line begins with a byte.
    fn unpack(&self, bytes: &[u8], lines: Lines, numbers: &mut [f32]) {
        let (bits, mask) = (self.bits, (1_u8 << self.bits) - 1);
        let stored = bytes.chunks_exact(lines.bytes);
        for (line, numbers) in stored.zip(numbers.chunks_exact_mut(lines.columns)) {
            for (x, number) in numbers.iter_mut().enumerate() {
                let shift = 8 - bits - x * bits % 8;
                *number = f32::from(line[x * bits / 8] >> shift & mask);
            }
        }
    }
}
