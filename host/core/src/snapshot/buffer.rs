//! Memory for entries on their way into a file, which comes back when they are written.
//!
//! Owns the buffers that lie ready. Memory that nobody has touched yet is handed out by the system page by page, or
//! huge page by huge page, and cleared: milliseconds on a virtual machine, which the lane that encodes would stand
//! still. Nobody waits for anybody: who finds the others' hand on the buffers goes on without. Invariants: a buffer
//! that is handed out is empty; at most [`READY_MAX`] lie ready, so a state that was once large does not keep more.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use crate::limits::KIB;

/// Bytes that a buffer from [`Buffers::take`] has room for: what a part of a segment takes, and its last entry.
const BUFFER_BYTES: usize = 72 * KIB;
/// Buffers that lie ready at most, for one task: 18 MiB. So many are only there when as many were on their way at once.
const READY_MAX: usize = 256;

/// The buffers of one state backend.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer with room for a part of a segment.
    pub fn take(&self) -> Buffer {
        let ready = self.0.try_lock().ok().and_then(|mut ready| ready.pop());
        let bytes = ready.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
        Buffer { bytes, home: Some(self.clone()) }
    }

    fn take_back(&self, mut bytes: Vec<u8>) {
        // One that grew for a large entry would hold its memory for entries that are not.
        if !(BUFFER_BYTES..=2 * BUFFER_BYTES).contains(&bytes.capacity()) {
            return;
        }
        bytes.clear();
        if let Ok(mut ready) = self.0.try_lock()
            && ready.len() < READY_MAX
        {
            ready.push(bytes);
        }
    }
}

/// Bytes that go back where they came from when they are dropped.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Option<Buffers>,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, home: None }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(self.bytes.clone())
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Buffer {}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.take_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_is_handed_out_again() {
        let buffers = Buffers::default();
        let mut first = buffers.take();
        first.extend_from_slice(b"entries");
        let place = first.as_ptr();
        drop(first);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_ne!(buffers.take().as_ptr(), place);
    }

    #[test]
    fn what_grew_large_and_what_is_too_many_is_given_up() {
        let buffers = Buffers::default();
        let mut large = buffers.take();
        large.resize(3 * BUFFER_BYTES, 0);
        drop(large);
        assert_eq!(buffers.0.lock().unwrap().len(), 0);
        let many: Vec<Buffer> = (0..READY_MAX + 1).map(|_| buffers.take()).collect();
        drop(many);
        assert_eq!(buffers.0.lock().unwrap().len(), READY_MAX);
    }

    #[test]
    fn nobody_waits_for_who_holds_the_buffers() {
        let buffers = Buffers::default();
        let held = buffers.0.lock().unwrap();
        drop(buffers.take());
        drop(held);
        assert_eq!(buffers.0.lock().unwrap().len(), 0);
    }
}
