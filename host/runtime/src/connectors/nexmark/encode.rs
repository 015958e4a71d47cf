//! The two encodings of an event, written straight into a column.
//!
//! Owns bytes, not fields: which fields there are and in which order is up to the caller.
//! Invariants: JSON without spaces, in which no text needs an escape; MessagePack in its smallest
//! form.

use crate::connectors::msgpack;

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

    fn open(out: &mut Vec<u8>, shape: Shape);
    fn integer(out: &mut Vec<u8>, name: &[u8], value: u64);
    /// Begins a text of which `length` bytes follow.
    fn text(out: &mut Vec<u8>, name: &[u8], length: usize);
    fn text_end(out: &mut Vec<u8>);
}

pub(super) struct Ndjson;

impl Encode for Ndjson {
    const CLOSE: &'static [u8] = b"\"}";

    #[inline]
    fn open(out: &mut Vec<u8>, shape: Shape) {
        out.extend_from_slice(match shape {
            Shape::Person => b"{\"type\":\"person\"",
            Shape::Auction => b"{\"type\":\"auction\"",
            Shape::Bid => b"{\"type\":\"bid\"",
            Shape::Uniform => b"{",
        });
    }

    #[inline]
    fn integer(out: &mut Vec<u8>, name: &[u8], value: u64) {
        out.extend_from_slice(name);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    #[inline]
    fn text(out: &mut Vec<u8>, name: &[u8], _length: usize) {
        out.extend_from_slice(name);
    }

    #[inline]
    fn text_end(out: &mut Vec<u8>) {
        out.push(b'"');
    }
}

pub(super) struct MessagePack;

impl Encode for MessagePack {
    const CLOSE: &'static [u8] = b"";

    #[inline]
    fn open(out: &mut Vec<u8>, shape: Shape) {
        // An array of so many items, of which the first is the kind.
        out.extend_from_slice(match shape {
            Shape::Person => &[0x99, 0],
            Shape::Auction => &[0x9b, 1],
            Shape::Bid => &[0x98, 2],
            Shape::Uniform => &[0x93],
        });
    }

    #[inline]
    fn integer(out: &mut Vec<u8>, _name: &[u8], value: u64) {
        msgpack::write_unsigned(out, value);
    }

    #[inline]
    fn text(out: &mut Vec<u8>, _name: &[u8], length: usize) {
        msgpack::write_text_head(out, length);
    }

    #[inline]
    fn text_end(_out: &mut Vec<u8>) {}
}
