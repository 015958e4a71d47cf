//! Encoded entries of one state and key group on their way into a snapshot.
//!
//! Owns the cutting into parts of [`PART_BYTES`]: a buffer that grew without end would be copied each time
//! it doubles, and the lane would stand still for as long. Knows nothing of what the entries say.

use crate::limits::KIB;
use crate::snapshot::Segment;

/// A part takes no more entries once it has this many bytes.
const PART_BYTES: usize = 64 * KIB;

/// Entries encoded so far.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
}

struct Part {
    bytes: Vec<u8>,
    entries: u32,
}

impl Parts {
    /// Where the next entry is to be appended.
    #[inline]
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        let has_room = self.parts.last().is_some_and(|part| part.bytes.len() < PART_BYTES);
        if !has_room {
            self.parts.push(Part { bytes: Vec::new(), entries: 0 });
        }
        let last = self.parts.len() - 1;
        let part = &mut self.parts[last];
        part.entries += 1;
        &mut part.bytes
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
