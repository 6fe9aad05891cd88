//! The strips or tiles of a page, and the numbers in them (TIFF 6.0, sections 7, 9, 13, 14 and 15).

use std::io::{Cursor, Read};

use flate2::read::ZlibDecoder;
use tiff::TiffResult;
use tiff::decoder::Decoder;
use tiff::tags::Tag;
use weezl::BitOrder;

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

const CUT_OFF: &str = "it is cut off. Copy or save it again.";

impl Layout {
    /// The page that the decoder is at. (Its byte order is of a type that is private.)
    pub fn of(decoder: &mut Decoder<Cursor<&[u8]>>, big_endian: bool) -> TiffResult<Self> {
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

    pub fn is_like(&self, other: &Self) -> bool {
        (self.size, self.bands, self.bits, self.format)
            == (other.size, other.bands, other.bits, other.format)
    }

    /// "512 x 384 (width x height) of 3 bands of 8 bits"
    pub fn shown(&self) -> String {
        let size = crate::raster::shown_size(&self.size);
        format!("{size} of {} bands of {} bits", self.bands, self.bits)
    }

    /// The values of the page, band by band.
    pub fn decode(&self, file: &[u8]) -> Result<Vec<f32>, String> {
        self.check()?;
        let [height, width] = self.size;
        let [chunk_height, chunk_width] = self.chunk;
        let (down, across) = (height.div_ceil(chunk_height), width.div_ceil(chunk_width));
        let (planes, together) = match self.is_planar {
            true => (self.bands, 1),
            false => (1, self.bands),
        };
        let mut values = vec![0.0; self.bands * height * width];
        for plane in 0..planes {
            for (row, column) in
                (0..down).flat_map(|row| (0..across).map(move |column| (row, column)))
            {
                let [top, left] = [row * chunk_height, column * chunk_width];
                let [rows, columns] = [
                    chunk_height.min(height - top),
                    chunk_width.min(width - left),
                ];
                let stored = [if self.is_tiled { chunk_height } else { rows }, chunk_width];
                let index = (plane * down + row) * across + column;
                let numbers = self.chunk(file, index, stored, together)?;
                for (y, line) in numbers
                    .chunks_exact(chunk_width * together)
                    .take(rows)
                    .enumerate()
                {
                    for band in 0..together {
                        let at = ((plane + band) * height + top + y) * width + left;
                        let of_band = line.iter().skip(band).step_by(together);
                        for (value, &number) in values[at..at + columns].iter_mut().zip(of_band) {
                            *value = number;
                        }
                    }
                }
            }
        }
        Ok(values)
    }

    /// Refuses what the numbers cannot be read of.
    fn check(&self) -> Result<(), String> {
        const WHITE_IS_ZERO: u32 = 0;
        const READ: [u32; 5] = [WHITE_IS_ZERO, 1, 2, 3, 5];
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
            "it has {} bands of {} bits (SampleFormat {}, Predictor {}), which are not read. Save whole numbers of 8, 16 \
             or 32 bits, or floats of 32.",
            self.bands, self.bits, self.format, self.predictor
        )
    }

    /// The numbers of a strip or a tile of `[rows, columns]`, with so many bands beside each other.
    fn chunk(
        &self,
        file: &[u8],
        index: usize,
        [rows, columns]: [usize; 2],
        bands: usize,
    ) -> Result<Vec<f32>, String> {
        let line = (columns
            .checked_mul(bands)
            .and_then(|n| n.checked_mul(self.bits)))
        .map(|bits| bits.div_ceil(8))
        .ok_or(CUT_OFF)?;
        let expected = line
            .checked_mul(rows)
            .filter(|&bytes| bytes <= 1 << 40)
            .ok_or(CUT_OFF)?;
        let compressed = self.compressed(file, index).ok_or(CUT_OFF)?;
        let mut bytes = decompress(self.compression, compressed, expected)?;
        if bytes.len() < expected {
            return Err(CUT_OFF.into());
        }
        bytes.truncate(expected);
        let mut values = match self.bits {
            1 | 2 | 4 => self.unpack(&bytes, line, columns),
            bits => {
                let kind = match self.format {
                    1 => Kind::Unsigned,
                    2 => Kind::Signed,
                    3 => Kind::Float,
                    _ => return Err(self.unknown_numbers()),
                };
                let number = Number::new(kind, bits / 8).filter(|_| bits % 8 == 0);
                let number = number.ok_or_else(|| self.unknown_numbers())?;
                let mut big_endian = self.big_endian;
                for line in bytes.chunks_exact_mut(line) {
                    match (self.predictor, kind) {
                        (1, _) => {}
                        (2, Kind::Unsigned | Kind::Signed) => {
                            add_up(line, number.bytes, bands, big_endian)
                        }
                        (3, Kind::Float) => join_bytes(line, number.bytes, bands),
                        _ => return Err(self.unknown_numbers()),
                    }
                }
                // That predictor stores the highest bytes first.
                big_endian |= self.predictor == 3;
                number.decode(&bytes, big_endian)
            }
        };
        if self.photometric == 0 {
            let white = ((1_u64 << self.bits.min(63)) - 1) as f32;
            values.iter_mut().for_each(|value| *value = white - *value);
        }
        Ok(values)
    }

    fn compressed<'f>(&self, file: &'f [u8], index: usize) -> Option<&'f [u8]> {
        let start = usize::try_from(*self.offsets.get(index)?).ok()?;
        let length = usize::try_from(*self.lengths.get(index)?).ok()?;
        file.get(start..start.checked_add(length)?)
    }

    /// Numbers of less than a byte, the highest bits first; a line begins with a byte.
    fn unpack(&self, bytes: &[u8], line: usize, columns: usize) -> Vec<f32> {
        let (bits, mask) = (self.bits, (1_u8 << self.bits) - 1);
        let number = |line: &[u8], x: usize| {
            let shift = 8 - bits - x * bits % 8;
            f32::from(line[x * bits / 8] >> shift & mask)
        };
        let lines = bytes.chunks_exact(line);
        lines
            .flat_map(|line| (0..columns).map(move |x| number(line, x)))
            .collect()
    }
}

/// The bytes that were compressed; no more than `expected`.
fn decompress(compression: u32, bytes: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let damaged = |e: &dyn std::fmt::Display| format!("it is damaged: {e}. Copy or save it again.");
    match compression {
        1 => Ok(bytes.to_vec()),
        5 => lzw(bytes, expected),
        8 | 32946 => {
            let mut decoded = Vec::new();
            let mut decoder = ZlibDecoder::new(bytes).take(expected as u64);
            decoder.read_to_end(&mut decoded).map_err(|e| damaged(&e))?;
            Ok(decoded)
        }
        32773 => Ok(packbits(bytes, expected)),
        other => Err(format!(
            "it is compressed in a way (Compression {other}) that is not read. Save it uncompressed, or with LZW, \
             Deflate or PackBits."
        )),
    }
}

fn lzw(bytes: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    // (As much as it can be: nobody allocates what a damaged file claims.)
    let mut decoded = vec![0; expected.min(bytes.len().saturating_mul(4096))];
    let (mut read, mut written) = (0, 0);
    loop {
        let result = decoder.decode_bytes(&bytes[read..], &mut decoded[written..]);
        (read, written) = (read + result.consumed_in, written + result.consumed_out);
        match result.status {
            Ok(weezl::LzwStatus::Ok) if written < decoded.len() => {}
            Ok(_) => break,
            Err(e) => return Err(format!("it is damaged: {e}. Copy or save it again.")),
        }
    }
    decoded.truncate(written);
    Ok(decoded)
}

/// Runs of bytes: a number of literal ones, or one that repeats.
fn packbits(mut bytes: &[u8], expected: usize) -> Vec<u8> {
    let mut decoded = Vec::new();
    while let [head, rest @ ..] = bytes
        && decoded.len() < expected
    {
        let head = usize::from(*head);
        bytes = match (head, rest) {
            (0..=127, rest) => {
                let (literal, rest) = rest.split_at(rest.len().min(head + 1));
                decoded.extend_from_slice(literal);
                rest
            }
            (129.., [byte, rest @ ..]) => {
                decoded.resize(decoded.len() + 257 - head, *byte);
                rest
            }
            (_, rest) => rest,
        };
    }
    decoded
}

/// Undoes the differences between neighbours.
fn add_up(line: &mut [u8], bytes: usize, bands: usize, big_endian: bool) {
    let step = bytes * bands;
    for at in (step..line.len()).step_by(bytes) {
        let mut carry = 0;
        for byte in 0..bytes {
            let byte = if big_endian { bytes - 1 - byte } else { byte };
            let sum = u16::from(line[at + byte]) + u16::from(line[at + byte - step]) + carry;
            line[at + byte] = sum as u8;
            carry = sum >> 8;
        }
    }
}

/// Undoes the predictor of floats: the highest bytes of all numbers, then the next, as differences.
fn join_bytes(line: &mut [u8], bytes: usize, bands: usize) {
    for at in bands..line.len() {
        line[at] = line[at].wrapping_add(line[at - bands]);
    }
    let apart = line.to_vec();
    let count = line.len() / bytes;
    for (at, number) in line.chunks_exact_mut(bytes).enumerate() {
        for (byte, place) in number.iter_mut().enumerate() {
            *place = apart[byte * count + at];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictors_are_undone() {
        // 300, 301, 299 as differences: 300, 1, -2.
        for (big, order) in [
            (false, u16::to_le_bytes as fn(u16) -> _),
            (true, u16::to_be_bytes),
        ] {
            let mut line = [300, 1, 65534].map(order).concat();
            add_up(&mut line, 2, 1, big);
            assert_eq!(line, [300, 301, 299].map(order).concat());
        }
        let floats = [1.5_f32, -2.25];
        let apart: Vec<u8> = (0..4)
            .flat_map(|byte| floats.map(|v| v.to_be_bytes()[byte]))
            .collect();
        let mut line = apart.clone();
        for at in (1..line.len()).rev() {
            line[at] = line[at].wrapping_sub(line[at - 1]);
        }
        join_bytes(&mut line, 4, 1);
        assert_eq!(line, floats.map(f32::to_be_bytes).concat());
    }

    #[test]
    fn packbits_as_in_the_specification() {
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7,
            0xaa,
        ];
        let expected = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22,
            0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        assert_eq!(packbits(&packed, 24), expected);
        assert_eq!(packbits(&packed[..3], 24).len(), 3);
    }
}
