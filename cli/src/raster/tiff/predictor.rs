//! The predictors: what a line stores in place of its numbers (TIFF 6.0, section 14, and Adobe's note 3).

/// Undoes the differences between neighbours.
pub fn add_up(line: &mut [u8], bytes: usize, bands: usize, big_endian: bool) {
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
pub fn join_bytes(line: &mut [u8], bytes: usize, bands: usize) {
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
}
