//! Buffers that are used again: a fresh one for every request would cost more in clearing of pages than the copying
//! of the bytes does.

use std::sync::{Arc, Mutex, PoisonError};

/// The size of every buffer.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// Idle buffers beyond this are given back to the system (16 MiB in all).
const IDLE_BUFFERS_MAX: usize = 64;

/// Idle buffers.
#[derive(Default)]
pub(super) struct BufferPool {
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl BufferPool {
    /// An empty buffer, made now if none is idle.
    pub(super) fn take(self: &Arc<Self>) -> PooledBuffer {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        PooledBuffer {
            bytes,
            len: 0,
            pool: Arc::clone(self),
        }
    }
}

/// A buffer that goes back to its pool when dropped.
pub(super) struct PooledBuffer {
    bytes: Box<[u8]>,
    len: usize,
    pool: Arc<BufferPool>,
}

impl PooledBuffer {
    /// Copies as much of `piece` as there is room for and says how much that was.
    pub(super) fn fill(&mut self, piece: &[u8]) -> usize {
        let count = piece.len().min(BUFFER_BYTES - self.len);
        self.bytes[self.len..self.len + count].copy_from_slice(&piece[..count]);
        self.len += count;
        count
    }

    /// The whole buffer, to read into; [`Self::set_len`] tells how much of it counts.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Says that so many bytes are filled.
    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len.min(BUFFER_BYTES);
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_BUFFERS_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_are_not_hoarded() {
        let pool = Arc::new(BufferPool::default());
        let mut buffer = pool.take();
        assert_eq!(buffer.fill(&[7; 10]), 10);
        assert_eq!(buffer.fill(&vec![8; BUFFER_BYTES]), BUFFER_BYTES - 10);
        assert!(buffer.is_full());
        drop(buffer);
        assert_eq!(pool.take().as_ref(), b"");
        drop((0..IDLE_BUFFERS_MAX + 5).map(|_| pool.take()).collect::<Vec<_>>());
        assert_eq!(pool.idle.lock().unwrap().len(), IDLE_BUFFERS_MAX);
    }
}
