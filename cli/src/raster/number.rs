//! The numbers of a file's bytes.

use std::io::{self, Read};

/// So many numbers are decoded at once: neither the bytes of a file nor its numbers are held as a whole for it.
const NUMBERS_AT_ONCE: usize = 1 << 18;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unsigned,
    Signed,
    Float,
}

/// A type of numbers: its kind, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub kind: Kind,
    pub bytes: usize,
}

impl Number {
    /// The type, if it is one that is read: whole numbers of 8 to 64 bits, and floats of 32 and 64.
    pub fn new(kind: Kind, bytes: usize) -> Option<Self> {
        let known = match kind {
            Kind::Unsigned | Kind::Signed => matches!(bytes, 1 | 2 | 4 | 8),
            Kind::Float => matches!(bytes, 4 | 8),
        };
        known.then_some(Self { kind, bytes })
    }

    /// The numbers of some bytes, as many as there are `values`.
    pub fn decode(self, bytes: &[u8], big_endian: bool, values: &mut [f32]) {
        let bits = |number: &[u8]| {
            let shifted = |bits: u64, &byte: &u8| bits << 8 | u64::from(byte);
            match big_endian {
                true => number.iter().fold(0, shifted),
                false => number.iter().rev().fold(0, shifted),
            }
        };
        let unused = 64 - 8 * self.bytes as u32;
        let number = |bits: u64| match (self.kind, self.bytes) {
            (Kind::Unsigned, _) => bits as f32,
            (Kind::Signed, _) => ((bits << unused) as i64 >> unused) as f32,
            (Kind::Float, 4) => f32::from_bits(bits as u32),
            (Kind::Float, _) => f64::from_bits(bits) as f32,
        };
        let numbers = bytes.chunks_exact(self.bytes).map(bits);
        for (value, bits) in values.iter_mut().zip(numbers) {
            *value = number(bits);
        }
    }

    /// Reads the numbers of `values`, some at a time; how many bytes there were, if these are less.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(
        self,
        file: &mut impl Read,
        big_endian: bool,
        values: &mut [f32],
    ) -> io::Result<Result<(), usize>> {
        let mut bytes = Vec::with_capacity(self.bytes * NUMBERS_AT_ONCE);
        let mut read = 0;
        for values in values.chunks_mut(NUMBERS_AT_ONCE) {
            let expected = self.bytes * values.len();
            bytes.clear();
            file.take(expected as u64).read_to_end(&mut bytes)?;
            read += bytes.len();
            if bytes.len() < expected {
                return Ok(Err(read));
            }
            self.decode(&bytes, big_endian, values);
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_each_kind_are_read_in_both_orders() {
        let decoded = |kind, bytes: &[u8], big| {
            let number = Number::new(kind, bytes.len()).unwrap();
            let mut value = [0.0];
            number.decode(bytes, big, &mut value);
            value[0]
        };
        assert_eq!(decoded(Kind::Unsigned, &[1, 2], true), 258.0);
        assert_eq!(decoded(Kind::Unsigned, &[1, 2], false), 513.0);
        assert_eq!(decoded(Kind::Signed, &[0xff], false), -1.0);
        assert_eq!(decoded(Kind::Signed, &(-7i32).to_be_bytes(), true), -7.0);
        assert_eq!(decoded(Kind::Float, &2.5f32.to_le_bytes(), false), 2.5);
        assert_eq!(decoded(Kind::Float, &(-2.5f64).to_be_bytes(), true), -2.5);
        assert_eq!(Number::new(Kind::Float, 2), None);
    }
}
