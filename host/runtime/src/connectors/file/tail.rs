//! The last bytes before a place in a file, by which a reader knows the file again.
//!
//! Owns the bytes of chunks that are gone already and may still be asked for. Knows nothing of
//! records. Invariants: it holds what lies between the earliest byte that may be asked for and the
//! chunk at hand, without a gap; each chunk is copied at most once, when it goes.

use xxhash_rust::xxh3::Xxh3;

/// How many bytes before a place are looked at. Positions in manifests rely on it.
pub(super) const TAIL_BYTES: u64 = 64 * 1024;

/// What is kept of the bytes before the chunk at hand.
pub(super) struct Tail {
    /// Offset of the first byte.
    start: u64,
    bytes: Vec<u8>,
}

impl Tail {
    /// For reading from byte `start` on.
    pub(super) fn new(start: u64) -> Self {
        Self { start, bytes: Vec::new() }
    }

    /// Where the chunk at hand begins.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The chunk at hand goes: keeps what lies behind byte `from`, and forgets what lies before it.
    pub(super) fn keep(&mut self, chunk: &[u8], from: u64) {
        let forgotten = from.saturating_sub(self.start) as usize;
        let of_kept = forgotten.min(self.bytes.len());
        let of_chunk = (forgotten - of_kept).min(chunk.len());
        self.bytes.drain(..of_kept);
        self.bytes.extend_from_slice(&chunk[of_chunk..]);
        self.start += (of_kept + of_chunk) as u64;
    }

    /// The digest of the bytes from `from` to `to`, which lie in what is kept and the chunk at hand.
    pub(super) fn digest(&self, chunk: &[u8], from: u64, to: u64) -> u64 {
        let mut digest = Xxh3::new();
        let mut base = self.start;
        for part in [&self.bytes[..], chunk] {
            let within = |offset: u64| (offset.saturating_sub(base) as usize).min(part.len());
            digest.update(&part[within(from)..within(to)]);
            base += part.len() as u64;
        }
        digest.digest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_that_were_asked_to_be_kept_are_there_whatever_the_chunks(
            data in prop::collection::vec(any::<u8>(), 1..200),
            first in 0u64..9,
            pieces in prop::collection::vec((1usize..30, 0u64..40), 1..20),
        ) {
            let mut tail = Tail::new(first);
            let (mut at, mut earliest) = (0, first);
            for (piece, behind) in pieces {
                let chunk = &data[at..data.len().min(at + piece)];
                let end = first + (at + chunk.len()) as u64;
                prop_assert_eq!(tail.end(), first + at as u64);
                for from in earliest..=end {
                    let expected = xxh3_64(&data[(from - first) as usize..(end - first) as usize]);
                    prop_assert_eq!(tail.digest(chunk, from, end), expected);
                }
                earliest = end.saturating_sub(behind).max(earliest);
                tail.keep(chunk, earliest);
                at += chunk.len();
            }
        }
    }
}
