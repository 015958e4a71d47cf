//! Room for one event.
//!
//! Owns the bytes of an event while it is made. Room is there from the beginning, so that what is written has no growth to
//! check for, and short texts are copied in one size that fits all, beyond their end: copies whose length is a
//! constant are a few instructions. Invariant: an event has at most
//! [`EVENT_BYTES_MAX`] bytes, and with what is copied beyond its end it fits; whoever writes more gets a panic.

/// Bytes of an event at most, in either encoding.
pub(super) const EVENT_BYTES_MAX: usize = 1024;
/// Bytes that may be copied beyond the end of an event.
const BEYOND_BYTES: usize = 128;
const ROOM_BYTES: usize = EVENT_BYTES_MAX + BEYOND_BYTES;

/// A text of fewer than `N` bytes; the last of them says how many.
pub(super) type Text<const N: usize> = [u8; N];

/// Packs a text.
///
/// # Panics
/// It is too long, which the fixed tables are not.
pub(super) fn pack<const N: usize>(text: &[u8]) -> Text<N> {
    assert!(text.len() < N && N <= BEYOND_BYTES, "a text of {} bytes", text.len());
    let mut packed = [0; N];
    packed[..text.len()].copy_from_slice(text);
    packed[N - 1] = text.len() as u8;
    packed
}

/// An event in the making.
pub(super) struct Room {
    bytes: [u8; ROOM_BYTES],
    len: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { bytes: [0; ROOM_BYTES], len: 0 }
    }

    /// What was written.
    #[inline]
    pub(super) fn written(&self) -> &[u8] {
        debug_assert!(self.len <= EVENT_BYTES_MAX, "an event of {} bytes", self.len);
        &self.bytes[..self.len]
    }

    /// Begins another event.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Writes all of `bytes`, of which only `count` count.
    #[inline]
    pub(super) fn put_first<const N: usize>(&mut self, bytes: [u8; N], count: usize) {
        self.bytes[self.len..][..N].copy_from_slice(&bytes);
        self.len += count;
    }

    #[inline]
    pub(super) fn put_text<const N: usize>(&mut self, text: &Text<N>) {
        self.bytes[self.len..][..N].copy_from_slice(text);
        self.len += usize::from(text[N - 1]);
    }

    /// Writes `count` bytes, which `next` gives eight at a time.
    #[inline]
    pub(super) fn put_words(&mut self, count: usize, mut next: impl FnMut() -> u64) {
        let words = count.div_ceil(8);
        for word in self.bytes[self.len..][..words * 8].chunks_exact_mut(8) {
            word.copy_from_slice(&next().to_le_bytes());
        }
        self.len += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_lies_one_behind_the_other() {
        let mut room = Room::new();
        for _ in 0..2 {
            room.clear();
            room.put(b"ab");
            room.put_text(&pack::<16>(b"cdefghijklmnopq".get(..10).unwrap()));
            room.put_first(*b"mnxx", 2);
            room.put_words(9, || u64::from_le_bytes(*b"12345678"));
            room.put_words(0, || unreachable!());
            room.put_text(&pack::<16>(b""));
            room.put(b"");
            assert_eq!(room.written(), b"abcdefghijklmn123456781");
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn an_event_that_is_too_large_is_a_panic() {
        let mut room = Room::new();
        (0..ROOM_BYTES).for_each(|_| room.put(b"ab"));
    }
}
