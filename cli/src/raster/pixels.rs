//! The values of an image, in memory or in a scratch file.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::memory::{ImageMemory, Share};
use super::scratch::Scratch;

/// Values as a slice, wherever they are.
pub struct Pixels {
    place: Place,
    /// Who decides where others of the same image are; nobody of parts that are small, such as crops.
    memory: Option<ImageMemory>,
}

enum Place {
    Memory {
        values: Vec<f32>,
        share: Option<Share>,
    },
    Scratch {
        scratch: Scratch,
        count: usize,
    },
}

impl Pixels {
    pub(super) fn in_memory(values: Vec<f32>, share: Share, memory: ImageMemory) -> Self {
        let share = Some(share);
        Self {
            place: Place::Memory { values, share },
            memory: Some(memory),
        }
    }

    pub(super) fn in_scratch(scratch: Scratch, memory: ImageMemory) -> Self {
        let count = scratch.values().len();
        Self {
            place: Place::Scratch { scratch, count },
            memory: Some(memory),
        }
    }

    /// So many zeros, where the budget of these values has room for them.
    ///
    /// # Errors
    /// As [`ImageMemory::zeros`].
    pub fn zeros_like(&self, count: usize) -> Result<Self, String> {
        match &self.memory {
            Some(memory) => memory.zeros(count),
            None => Ok(vec![0.0; count].into()),
        }
    }

    /// The same values once more.
    ///
    /// # Errors
    /// As [`ImageMemory::zeros`].
    pub fn try_clone(&self) -> Result<Self, String> {
        let mut copy = self.zeros_like(self.len())?;
        copy.copy_from_slice(self);
        Ok(copy)
    }

    /// Keeps the first values.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.place {
            Place::Memory { values, share } => {
                values.truncate(len);
                values.shrink_to_fit();
                if let Some(share) = share {
                    share.shrink(values.len());
                }
            }
            Place::Scratch { count, .. } => *count = len.min(*count),
        }
    }

    /// The values in memory.
    pub fn into_vec(self) -> Vec<f32> {
        match self.place {
            Place::Memory { values, .. } => values,
            Place::Scratch { .. } => self.to_vec(),
        }
    }

    #[cfg(test)]
    pub fn is_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory { .. })
    }
}

/// Values of a part of an image, which no budget counts.
impl From<Vec<f32>> for Pixels {
    fn from(values: Vec<f32>) -> Self {
        let share = None;
        Self {
            place: Place::Memory { values, share },
            memory: None,
        }
    }
}

impl Deref for Pixels {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.place {
            Place::Memory { values, .. } => values,
            Place::Scratch { scratch, count } => &scratch.values()[..*count],
        }
    }
}

impl DerefMut for Pixels {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.place {
            Place::Memory { values, .. } => values,
            Place::Scratch { scratch, count } => &mut scratch.values_mut()[..*count],
        }
    }
}

impl AsRef<[f32]> for Pixels {
    fn as_ref(&self) -> &[f32] {
        self
    }
}

impl<T: AsRef<[f32]> + ?Sized> PartialEq<T> for Pixels {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_in_memory_and_in_a_file() {
        let of = |budget| {
            let mut pixels = ImageMemory::of_bytes(budget).zeros(3000).unwrap();
            for (value, number) in pixels.iter_mut().zip(0..) {
                *value = number as f32 / 7.0;
            }
            pixels[1234] = f32::NEG_INFINITY;
            pixels.truncate(2000);
            pixels
        };
        let (memory, file) = (of(1 << 20), of(0));
        assert!(memory.is_in_memory() && !file.is_in_memory());
        assert_eq!((memory.len(), file[1999]), (2000, 1999.0 / 7.0));
        assert_eq!(memory, file);
        let copy = file.try_clone().unwrap();
        assert!(!copy.is_in_memory() && copy == file);
        assert_eq!(copy.into_vec(), memory.into_vec());
        assert!(file.zeros_like(4).unwrap() == [0.0; 4]);
    }

    #[test]
    fn a_part_is_in_memory_and_so_are_its_parts() {
        let part = Pixels::from(vec![1.0, 2.0]);
        assert_eq!(part, [1.0, 2.0]);
        assert!(part.try_clone().unwrap().is_in_memory());
    }
}
