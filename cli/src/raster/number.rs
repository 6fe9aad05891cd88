//! The numbers of a file's bytes.

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

    /// The numbers of some bytes.
    pub fn decode(self, bytes: &[u8], big_endian: bool) -> Vec<f32> {
        let bits = |number: &[u8]| {
            let shifted = |bits: u64, &byte: &u8| bits << 8 | u64::from(byte);
            match big_endian {
                true => number.iter().fold(0, shifted),
                false => number.iter().rev().fold(0, shifted),
            }
        };
        let unused = 64 - 8 * self.bytes as u32;
        let numbers = bytes.chunks_exact(self.bytes).map(bits);
        match (self.kind, self.bytes) {
            (Kind::Unsigned, _) => numbers.map(|bits| bits as f32).collect(),
            (Kind::Signed, _) => numbers
                .map(|bits| ((bits << unused) as i64 >> unused) as f32)
                .collect(),
            (Kind::Float, 4) => numbers.map(|bits| f32::from_bits(bits as u32)).collect(),
            (Kind::Float, _) => numbers.map(|bits| f64::from_bits(bits) as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_each_kind_are_read_in_both_orders() {
        let decoded = |kind, bytes: &[u8], big| {
            let number = Number::new(kind, bytes.len()).unwrap();
            number.decode(bytes, big)[0]
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
