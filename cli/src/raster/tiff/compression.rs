//! The compressions of strips and tiles (TIFF 6.0, sections 9 and 13, and Adobe's note 2).

use std::io::{Cursor, Read};

use flate2::read::ZlibDecoder;
use weezl::BitOrder;

/// The bytes that were compressed. Those of LZW and PackBits are held as a whole, no more than `expected`; the others are
/// read as they are asked for.
///
/// # Errors
/// When the compression is unknown, or the bytes are damaged.
pub fn decompressed<'f>(
    compression: u32,
    mut stored: impl Read + 'f,
    expected: usize,
) -> Result<Box<dyn Read + 'f>, String> {
    let mut whole = || {
        let mut bytes = Vec::new();
        stored.read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
        Ok::<_, String>(bytes)
    };
    Ok(match compression {
        1 => Box::new(stored),
        5 => Box::new(Cursor::new(lzw(&whole()?, expected)?)),
        8 | 32946 => Box::new(ZlibDecoder::new(stored)),
        32773 => Box::new(Cursor::new(packbits(&whole()?, expected))),
        other => {
            return Err(format!(
                "it is compressed in a way (Compression {other}) that is not read. Save it uncompressed, or with LZW, \
                 Deflate or PackBits."
            ));
        }
    })
}

/// Why bytes cannot be decoded.
pub fn damaged(error: &dyn std::fmt::Display) -> String {
    format!("it is damaged: {error}. Copy or save it again.")
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
            Err(e) => return Err(damaged(&e)),
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

#[cfg(test)]
mod tests {
    use super::*;

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
