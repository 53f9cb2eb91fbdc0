//! The memory of a matrix, aligned to a cache line.
//!
//! Sixteen f32 are one vector and one cache line. In memory that starts in the middle of a line, as
//! what the system hands out does, every vector that is loaded or stored touches two.

use std::ops::{Deref, DerefMut};
use wide::{bytemuck, f32x16};

use crate::lanes::LANES;

/// A fixed number of f32, aligned to 64 bytes; a slice in all other respects.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    lines: Vec<f32x16>,
    len: usize,
}

impl Buffer {
    /// So many zeros.
    pub fn zeros(len: usize) -> Buffer {
        Buffer { lines: vec![f32x16::ZERO; len.div_ceil(LANES)], len }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_a_slice_of_zeros_that_starts_a_cache_line() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = Buffer::zeros(len);
            assert_eq!(&buffer[..], vec![0.0; len]);
            assert_eq!(buffer.as_ptr().align_offset(64), 0);
            buffer.fill(1.0);
            assert_eq!(buffer.iter().sum::<f32>(), len as f32);
        }
    }
}
