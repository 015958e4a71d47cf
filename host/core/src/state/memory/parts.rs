//! Encoded entries of one state and key group on their way into a snapshot.
//!
//! Owns the cutting into parts of [`PART_BYTES`]: a buffer that grew without end would be copied each time
//! it doubles, and the lane would stand still for as long. Parts lie in buffers that were used before; but the
//! first part of few entries begins small, since most states have few to a key group, and where parts are kept it grows as it is used. Knows nothing of what
//! the entries say.

use crate::limits::KIB;
use crate::snapshot::{Buffer, Buffers, Segment};

/// A part takes no more entries once it has this many bytes.
const PART_BYTES: usize = 64 * KIB;
/// A part that began small and has this many bytes goes on in a large buffer.
const SMALL_BYTES: usize = 4 * KIB;
/// Slots from which on it is not worth while to begin small.
const MANY_SLOTS: usize = 256;
/// The same of what is kept for a while: it need be no part of these that comes.
const VERY_MANY_SLOTS: usize = 4096;

/// Entries encoded so far.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
    /// Where large buffers come from; none of one that only stands in for another.
    buffers: Option<Buffers>,
    /// There will be many entries.
    are_many: bool,
    /// The first part grows as it is used, unless there will be very many.
    grows: bool,
}

struct Part {
    bytes: Buffer,
    entries: u32,
    /// Takes no more entries as it is once it has this many bytes.
    limit: usize,
}

impl Parts {
    pub(super) fn new(buffers: &Buffers) -> Self {
        Self { buffers: Some(buffers.clone()), ..Self::default() }
    }

    /// For what is kept for a while, for each state of each key group, however little it is.
    pub(super) fn growing(buffers: &Buffers) -> Self {
        Self { grows: true, ..Self::new(buffers) }
    }

    /// Entries of about so many slots are to come.
    pub(super) fn expect(&mut self, slots: usize) {
        self.are_many = slots >= if self.grows { VERY_MANY_SLOTS } else { MANY_SLOTS };
    }

    /// Where the next entry is to be appended.
    #[inline]
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        let has_room = self.parts.last().is_some_and(|part| part.bytes.len() < part.limit);
        if !has_room {
            self.make_room();
        }
        let last = self.parts.len() - 1;
        let part = &mut self.parts[last];
        part.entries += 1;
        &mut part.bytes
    }

    fn make_room(&mut self) {
        let large = || self.buffers.as_ref().map(Buffers::take).unwrap_or_default();
        match self.parts.last_mut() {
            None if !self.are_many => {
                let limit = if self.grows { PART_BYTES } else { SMALL_BYTES };
                self.parts.push(Part { bytes: Buffer::default(), entries: 0, limit });
            }
            Some(small) if small.bytes.len() < PART_BYTES => {
                let mut bytes = large();
                bytes.extend_from_slice(&small.bytes);
                (small.bytes, small.limit) = (bytes, PART_BYTES);
            }
            None | Some(_) => {
                let part = Part { bytes: large(), entries: 0, limit: PART_BYTES };
                self.parts.push(part);
            }
        }
    }

    /// Moves everything out as segments.
    pub(super) fn drain_into(&mut self, group: u16, state: u16, segments: &mut Vec<Segment>) {
        segments.extend(self.parts.drain(..).map(|part| Segment {
            group,
            state,
            entries: part.entries,
            bytes: part.bytes,
        }));
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn forget(&mut self) {
        self.parts = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_as_they_went_in_whatever_their_sizes() {
        for sizes in [&[1][..], &[4095, 1, 1], &[70_000, 1], &[30_000, 30_000, 30_000], &[10; 9000]]
        {
            let mut parts = Parts::new(&Buffers::default());
            parts.expect(sizes.len());
            for (index, size) in sizes.iter().enumerate() {
                let byte = index as u8;
                parts.next().extend(std::iter::repeat_n(byte, *size));
            }
            let mut segments = Vec::new();
            parts.drain_into(3, 1, &mut segments);
            let found: Vec<u8> =
                segments.iter().flat_map(|part| part.bytes.iter().copied()).collect();
            let expected: Vec<u8> = sizes
                .iter()
                .enumerate()
                .flat_map(|(index, size)| std::iter::repeat_n(index as u8, *size))
                .collect();
            assert!(found == expected, "{sizes:?}");
            let entries: u32 = segments.iter().map(|part| part.entries).sum();
            assert_eq!(entries as usize, sizes.len());
            let full = segments.split_last().map_or(&[][..], |(_, full)| full);
            assert!(full.iter().all(|part| part.bytes.len() >= PART_BYTES), "{sizes:?}");
            assert!(parts.parts.is_empty());
        }
    }

    #[test]
    fn many_entries_go_where_earlier_ones_lay() {
        let buffers = Buffers::default();
        let encode = || {
            let mut parts = Parts::new(&buffers);
            parts.expect(MANY_SLOTS);
            parts.next().push(1);
            let mut segments = Vec::new();
            parts.drain_into(0, 0, &mut segments);
            segments
        };
        let place = encode()[0].bytes.as_ptr();
        assert_eq!(encode()[0].bytes.as_ptr(), place);
    }
}
