//! The two encodings of an event.
//!
//! Owns bytes, not fields: which fields there are and in which order is up to the caller.
//! Invariants: JSON without spaces, in which no text needs an escape; MessagePack in its smallest
//! form.

use crate::connectors::nexmark::room::Room;

/// What an event is; decides how it begins.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Person,
    Auction,
    Bid,
    Uniform,
}

/// Writes the parts of an event in order. Names are given in JSON notation, with the comma before
/// and the colon behind (and the quote that opens a text): `,"price":`.
pub(super) trait Encode {
    /// Bytes that follow the last text of an event.
    const CLOSE: &'static [u8];

    fn open(out: &mut Room, shape: Shape);
    fn integer(out: &mut Room, name: &[u8], value: u64);
    /// Begins a text of which `length` bytes follow.
    fn text(out: &mut Room, name: &[u8], length: usize);
    fn text_end(out: &mut Room);
}

pub(super) struct Ndjson;

impl Encode for Ndjson {
    const CLOSE: &'static [u8] = b"\"}";

    #[inline]
    fn open(out: &mut Room, shape: Shape) {
        out.put(match shape {
            Shape::Person => b"{\"type\":\"person\"",
            Shape::Auction => b"{\"type\":\"auction\"",
            Shape::Bid => b"{\"type\":\"bid\"",
            Shape::Uniform => b"{",
        });
    }

    #[inline]
    fn integer(out: &mut Room, name: &[u8], value: u64) {
        out.put(name);
        out.put(itoa::Buffer::new().format(value).as_bytes());
    }

    #[inline]
    fn text(out: &mut Room, name: &[u8], _length: usize) {
        out.put(name);
    }

    #[inline]
    fn text_end(out: &mut Room) {
        out.put(b"\"");
    }
}

pub(super) struct MessagePack;

impl Encode for MessagePack {
    const CLOSE: &'static [u8] = b"";

    #[inline]
    fn open(out: &mut Room, shape: Shape) {
        // An array of so many items, of which the first is the kind.
        out.put(match shape {
            Shape::Person => &[0x99, 0],
            Shape::Auction => &[0x9b, 1],
            Shape::Bid => &[0x98, 2],
            Shape::Uniform => &[0x93],
        });
    }

    #[inline]
    fn integer(out: &mut Room, _name: &[u8], value: u64) {
        // By the number of bytes that the value needs: the head, and how many bytes follow it.
        const FORMS: [(u8, usize); 9] = [
            (0xcc, 1),
            (0xcc, 1),
            (0xcd, 2),
            (0xce, 4),
            (0xce, 4),
            (0xcf, 8),
            (0xcf, 8),
            (0xcf, 8),
            (0xcf, 8),
        ];
        if value < 0x80 {
            return out.put(&[value as u8]);
        }
        let (head, bytes) = FORMS[(64 - value.leading_zeros()).div_ceil(8) as usize];
        out.put(&[head]);
        out.put_first((value << (64 - 8 * bytes)).to_be_bytes(), bytes);
    }

    #[inline]
    fn text(out: &mut Room, _name: &[u8], length: usize) {
        match u8::try_from(length) {
            Ok(length) if length < 32 => out.put(&[0xa0 | length]),
            Ok(length) => out.put(&[0xd9, length]),
            Err(_) => {
                let [high, low] = (length as u16).to_be_bytes();
                out.put(&[0xda, high, low]);
            }
        }
    }

    #[inline]
    fn text_end(_out: &mut Room) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_heads_of_texts_are_in_their_smallest_form() {
        let mut room = Room::new();
        let powers = (0..64).map(|bits| 1_u64 << bits);
        for value in powers.flat_map(|power| [power - 1, power, power + 1]).chain([u64::MAX]) {
            room.clear();
            MessagePack::integer(&mut room, b"", value);
            assert_eq!(room.written(), rmp_serde::to_vec(&value).unwrap());
        }
        for length in [0, 1, 31, 32, 255, 256, 700] {
            let text = "x".repeat(length);
            room.clear();
            MessagePack::text(&mut room, b"", length);
            room.put(text.as_bytes());
            assert_eq!(room.written(), rmp_serde::to_vec(&text).unwrap());
        }
    }
}
