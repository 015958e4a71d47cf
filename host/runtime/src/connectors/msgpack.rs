//! Small pieces of MessagePack: reading token by token, turning values into JSON.
//!
//! Owns nothing but these functions; no document is ever built. Invariants: lengths in the input
//! are claims, so nothing is reserved for them; nesting is bounded.

use crate::connectors::json;

/// How deeply arrays and maps may be nested where they become JSON.
const DEPTH_MAX: usize = 64;

/// One token. An array or map is followed by its items, or by its keys and values in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Boolean(bool),
    Unsigned(u64),
    /// A negative one.
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Array(u32),
    Map(u32),
}

/// Reads tokens from the start of a run of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or("it is cut short")?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or("it is cut short")?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn length(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self.bytes(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn text(&mut self, length: usize) -> Result<Token<'a>, String> {
        let text = std::str::from_utf8(self.bytes(length)?);
        text.map(Token::Text).map_err(|_| "a text in it is not UTF-8".to_owned())
    }

    /// The next token.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Token<'a>, String> {
        let [head] = self.array()?;
        let signed = |value: i64| match u64::try_from(value) {
            Ok(value) => Token::Unsigned(value),
            Err(_) => Token::Signed(value),
        };
        Ok(match head {
            0x00..=0x7f => Token::Unsigned(u64::from(head)),
            0x80..=0x8f => Token::Map(u32::from(head & 0x0f)),
            0x90..=0x9f => Token::Array(u32::from(head & 0x0f)),
            0xa0..=0xbf => self.text(usize::from(head & 0x1f))?,
            0xc0 => Token::Nil,
            0xc2 | 0xc3 => Token::Boolean(head == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(1 << (head - 0xc4))?;
                Token::Bytes(self.bytes(length)?)
            }
            0xca => Token::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Token::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Token::Unsigned(u64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Token::Unsigned(u64::from(u16::from_be_bytes(self.array()?))),
            0xce => Token::Unsigned(u64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd9..=0xdb => {
                let length = self.length(1 << (head - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => Token::Array(self.length(2 << (head - 0xdc))? as u32),
            0xde | 0xdf => Token::Map(self.length(2 << (head - 0xde))? as u32),
            0xe0..=0xff => Token::Signed(i64::from(head as i8)),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
                return Err(format!("type {head:#04x} is not supported"));
            }
        })
    }

    /// Passes over one value, however nested.
    #[inline]
    pub(super) fn skip(&mut self) -> Result<(), String> {
        let mut values = 1u64;
        while values > 0 {
            values -= 1;
            match self.next()? {
                Token::Array(items) => values += u64::from(items),
                Token::Map(entries) => values += 2 * u64::from(entries),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the next value as JSON: bytes as hexadecimal digits, what is no number as `null`, a
    /// map as an object.
    pub(super) fn write_json(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.write_nested(out, DEPTH_MAX)
    }

    fn write_nested(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        let Some(below) = depth.checked_sub(1) else {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        };
        match self.next()? {
            Token::Array(items) => {
                out.push(b'[');
                for item in 0..items {
                    if item > 0 {
                        out.push(b',');
                    }
                    self.write_nested(out, below)?;
                }
                out.push(b']');
            }
            Token::Map(entries) => {
                out.push(b'{');
                for entry in 0..entries {
                    if entry > 0 {
                        out.push(b',');
                    }
                    let Token::Text(name) = self.next()? else {
                        return Err("a map in it has a key that is not a text".to_owned());
                    };
                    json::write_string(out, name.as_bytes());
                    out.push(b':');
                    self.write_nested(out, below)?;
                }
                out.push(b'}');
            }
            Token::Nil => out.extend_from_slice(b"null"),
            Token::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Token::Unsigned(value) => {
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes())
            }
            Token::Signed(value) => {
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes())
            }
            Token::Float(value) => json::write_float(out, value),
            Token::Text(text) => json::write_string(out, text.as_bytes()),
            Token::Bytes(bytes) => json::write_hex(out, bytes),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn to_json(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (mut reader, mut out) = (Reader::new(bytes), Vec::new());
        reader.write_json(&mut out)?;
        if reader.left() > 0 { Err("left over".to_owned()) } else { Ok(out) }
    }

    #[test]
    fn what_another_writer_wrote_becomes_the_same_json() {
        let long = "x".repeat(70_000);
        let value = json!({
            "a": [0, 127, 128, 255, 256, 65_535, 65_536, u32::MAX, u64::MAX],
            "-a": [-1, -32, -33, -129, -40_000, i64::MIN],
            "b": [null, true, false, 1.5, -0.25, "", "é\n"],
            "l": [&long[..31], &long[..32], &long[..256], long],
            "c": (0..20).collect::<Vec<_>>(),
            "d": {"e": {}},
        });
        let bytes = rmp_serde::to_vec(&value).unwrap();
        let found = to_json(&bytes).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&found).unwrap(), value);
        let mut reader = Reader::new(&bytes);
        reader.skip().unwrap();
        assert_eq!(reader.left(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_reserve(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            to_json(&bytes).ok();
            Reader::new(&bytes).skip().ok();
        }
    }

    #[test]
    fn claims_that_the_bytes_do_not_bear_out_are_errors() {
        assert!(to_json(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(to_json(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'a']).is_err());
        assert!(to_json(&[0x91; 100]).unwrap_err().contains("64 deep"));
        assert!(to_json(&[]).is_err());
    }
}
