//! NumPy's .npy files, versions 1 to 3 (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! Their axes have no names. Two are height and width. Of three, the first is the depth where the network takes one
//! channel, and else the channels. Four are channels, depth, height and width.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use super::format::{Content, Stored};
use super::number::{Kind, Number};
use super::{Bands, Grid, Raster, RasterFile};
use crate::Result;
use crate::files::limits::ImageLimits;

const MAGIC: &[u8] = b"\x93NUMPY";

/// A longer header is none.
const MAX_HEADER: usize = 1 << 20;

/// What the header of a file says.
#[derive(Debug, PartialEq)]
struct Header {
    number: Number,
    big_endian: bool,
    shape: Vec<usize>,
}

/// Reads an array; `channels` is how many the network takes.
///
/// # Errors
/// When it is missing, damaged, too large, or of other axes or numbers.
pub fn read(path: &Path, channels: usize, limit: &ImageLimits) -> Result<RasterFile> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| format!("cannot read {shown}: {e}");
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let invalid =
        |problem: String| format!("{shown} is not a .npy file that can be read: {problem}");
    let text = header_text(&mut file).map_err(unreadable)?;
    let header = text.and_then(|text| header(&text)).map_err(invalid)?;
    let shape = &header.shape;
    let (channels, size) = match (shape.len(), channels) {
        (2, _) => (1, shape.clone()),
        (3, 1) => (1, shape.clone()),
        (3, _) => (shape[0], shape[1..].to_vec()),
        (4, _) => (shape[0], shape[1..].to_vec()),
        _ => {
            return Err(invalid(format!(
                "its shape is {shape:?}. Save an array of [height, width], [channels, height, width], [depth, height, \
                 width] (for a network of one channel) or [channels, depth, height, width]."
            ))
            .into());
        }
    };
    if shape.contains(&0) {
        return Err(invalid(format!("its shape is {shape:?}, which has no number")).into());
    }
    limit.size.check(path, &size, channels)?;
    let mut values = limit.memory.zeros(shape.iter().product())?;
    let read = header
        .number
        .read(&mut file, header.big_endian, &mut values);
    read.map_err(unreadable)?.map_err(|read| {
        let expected = values.len() * header.number.bytes;
        invalid(format!(
            "it is cut off: {read} bytes of {expected} are there. Copy or save it again."
        ))
    })?;
    Ok(RasterFile {
        raster: Raster {
            channels,
            size,
            values,
        },
        bands: match channels {
            1 => Bands::Grey,
            _ => Bands::Other,
        },
        grid: Grid::default(),
    })
}

/// The text of the header, behind which the numbers follow; or what is wrong with it.
fn header_text(file: &mut impl Read) -> std::io::Result<Result<String, String>> {
    let mut next = |count: usize| {
        let mut bytes = Vec::new();
        file.take(count as u64).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let magic = next(MAGIC.len())?;
    let version = next(2)?;
    let length = match version.first() {
        Some(1) => next(2)?,
        Some(2 | 3) => next(4)?,
        _ => Vec::new(),
    };
    let length = match length[..] {
        [a, b] => usize::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => 0,
    };
    if magic != MAGIC || !(1..=MAX_HEADER).contains(&length) {
        return Ok(Err("it has no header".into()));
    }
    let text = next(length)?;
    Ok(match text.len() == length {
        true => Ok(String::from_utf8_lossy(&text).into_owned()),
        false => Err("it is cut off within its header. Copy or save it again.".into()),
    })
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`
fn header(text: &str) -> Result<Header, String> {
    let value = |key: &str| {
        let after = text.split_once(key).map(|(_, after)| after);
        after
            .and_then(|after| after.split_once(':'))
            .map(|(_, value)| value.trim_start())
            .ok_or_else(|| format!("its header has no {key}"))
    };
    let descr = value("'descr'")?;
    let descr = descr
        .strip_prefix('\'')
        .and_then(|text| text.split('\'').next());
    let descr = descr.ok_or("it has a record of several numbers. Save an array of one type.")?;
    let unknown = || format!("its numbers are `{descr}`. Save it with array.astype('float32').");
    let mut letters = descr.chars();
    let (order, kind) = (letters.next(), letters.next());
    let kind = match kind {
        Some('u' | 'b') => Kind::Unsigned,
        Some('i') => Kind::Signed,
        Some('f') => Kind::Float,
        _ => return Err(unknown()),
    };
    let bytes = letters.as_str().parse().ok();
    let number = bytes
        .and_then(|bytes| Number::new(kind, bytes))
        .ok_or_else(unknown)?;
    if value("'fortran_order'")?.starts_with("True") {
        return Err("its axes lie in Fortran's order. Save numpy.ascontiguousarray(array).".into());
    }
    let shape = value("'shape'")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|text| text.split_once(')'));
    let axes = shape.map(|(axes, _)| {
        axes.split(',')
            .map(str::trim)
            .filter(|axis| !axis.is_empty())
    });
    let shape: Option<Vec<usize>> =
        axes.and_then(|axes| axes.map(|axis| axis.parse().ok()).collect());
    Ok(Header {
        number,
        big_endian: order == Some('>'),
        shape: shape.ok_or("its header has no shape")?,
    })
}

/// Writes a file: `[channels, ...]` of probabilities, and of a mask its axes.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &mut impl Write, raster: &Raster, content: Content) -> std::io::Result<()> {
    let stored = Stored::of(content);
    let descr = match stored {
        Stored::U8 => "|u1",
        Stored::U16 => "<u2",
        Stored::U32 => "<u4",
        Stored::F32 => "<f4",
    };
    let channels = matches!(content, Content::Probabilities).then_some(&raster.channels);
    let shape: Vec<String> = channels
        .into_iter()
        .chain(&raster.size)
        .map(usize::to_string)
        .collect();
    let mut header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        shape.join(", ")
    );
    // The data begin at a multiple of 64 bytes, after the magic, the version, the length and a line break.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    file.write_all(&[MAGIC, &[1, 0], &length, header.as_bytes()].concat())?;
    stored.write(file, &raster.values, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_numpy_writes_them_are_read() {
        let text = "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }";
        let expected = Header {
            number: Number {
                kind: Kind::Signed,
                bytes: 2,
            },
            big_endian: true,
            shape: vec![2, 3],
        };
        assert_eq!(header(text).unwrap(), expected);
        assert_eq!(header(&text.replace("(2, 3)", "(5,)")).unwrap().shape, [5]);
        for (from, to, error) in [
            (
                ">i2",
                "<c8",
                "its numbers are `<c8`. Save it with array.astype('float32').",
            ),
            (
                "False",
                "True",
                "its axes lie in Fortran's order. Save numpy.ascontiguousarray(array).",
            ),
            ("(2, 3)", "(2, x)", "its header has no shape"),
        ] {
            assert_eq!(header(&text.replace(from, to)).unwrap_err(), error);
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let raster = Raster {
            channels: 2,
            size: vec![1, 3],
            values: vec![0.0, 0.25, 0.5, 1.0, 0.75, 0.5].into(),
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &raster, Content::Probabilities).unwrap();
        let mut rest = &bytes[..];
        let text = header_text(&mut rest).unwrap().unwrap();
        let header = header(&text).unwrap();
        assert_eq!(
            (header.shape.as_slice(), (bytes.len() - rest.len()) % 64),
            (&[2, 1, 3][..], 0)
        );
        let mut values = [0.0; 6];
        let read = header.number.read(&mut rest, false, &mut values);
        assert_eq!(read.unwrap(), Ok(()));
        assert_eq!(raster.values, values);
        let mut cut_off = &bytes[bytes.len() - 10..];
        let read = header.number.read(&mut cut_off, false, &mut values);
        assert_eq!(read.unwrap(), Err(10));
    }
}
