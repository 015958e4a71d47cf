//! Events as MessagePack arrays, read in place.
//!
//! Invariant: a [`Reader`] never goes beyond its bytes, whatever lengths they claim.

use std::ops::Range;

use crate::{Auction, Bid, Event, Malformed, Uniform};

const TRUNCATED: Malformed = Malformed("the MessagePack ends too early");
const PERSON_FIELDS: usize = 9;
const AUCTION_FIELDS: usize = 11;
const BID_FIELDS: usize = 8;

/// A position in MessagePack.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The begin of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the head of an array and answers the number of items that follow.
    #[inline]
    pub fn array(&mut self) -> Result<usize, Malformed> {
        match self.byte()? {
            marker @ 0x90..=0x9f => Ok(usize::from(marker & 0x0f)),
            0xdc => self.length_16(),
            0xdd => self.length_32(),
            _ => Err(Malformed("no MessagePack array")),
        }
    }

    /// Reads a number that is not negative.
    #[inline(always)]
    pub fn unsigned(&mut self) -> Result<u64, Malformed> {
        // Nine bytes hold any number. How many a number takes is chance, so nothing branches on it.
        if let Some(&[marker, ref number @ ..]) = self.rest.first_chunk::<9>()
            && (marker <= 0x7f || matches!(marker, 0xcc..=0xcf))
        {
            let (bytes, number) = if marker <= 0x7f {
                (0, u64::from(marker))
            } else {
                let bytes = 1 << (marker & 3);
                (bytes, u64::from_be_bytes(*number) >> (64 - 8 * bytes))
            };
            self.rest = &self.rest[1 + bytes..];
            return Ok(number);
        }
        self.unsigned_at_the_end()
    }

    /// Reads a number when less than nine bytes are left, or of another kind.
    #[cold]
    fn unsigned_at_the_end(&mut self) -> Result<u64, Malformed> {
        match self.byte()? {
            marker @ 0..=0x7f => Ok(u64::from(marker)),
            0xcc => Ok(u64::from(self.byte()?)),
            0xcd => Ok(u64::from(u16::from_be_bytes(self.chunk()?))),
            0xce => Ok(u64::from(u32::from_be_bytes(self.chunk()?))),
            0xcf => Ok(u64::from_be_bytes(self.chunk()?)),
            marker => self.signed(marker),
        }
    }

    /// Reads a number that could be negative, and must not be.
    fn signed(&mut self, marker: u8) -> Result<u64, Malformed> {
        let number = match marker {
            0xd0 => i64::from(i8::from_be_bytes(self.chunk()?)),
            0xd1 => i64::from(i16::from_be_bytes(self.chunk()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.chunk()?)),
            0xd3 => i64::from_be_bytes(self.chunk()?),
            _ => return Err(Malformed("no unsigned integer where one belongs")),
        };
        u64::try_from(number).map_err(|_| Malformed("a negative number"))
    }

    /// Goes beyond a number or a text.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        let bytes = match self.byte()? {
            0..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 0,
            marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            0xc4 | 0xd9 => usize::from(self.byte()?),
            0xc5 | 0xda => self.length_16()?,
            0xc6 | 0xdb => self.length_32()?,
            _ => return Err(Malformed("neither a number nor a text where one belongs")),
        };
        self.take(bytes).map(drop)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn length_16(&mut self) -> Result<usize, Malformed> {
        Ok(usize::from(u16::from_be_bytes(self.chunk()?)))
    }

    fn length_32(&mut self) -> Result<usize, Malformed> {
        usize::try_from(u32::from_be_bytes(self.chunk()?)).map_err(|_| TRUNCATED)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (&chunk, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(chunk)
    }
}

/// Appends a number in the shortest form.
pub fn write_unsigned(number: u64, out: &mut Vec<u8>) {
    if let Ok(small) = u8::try_from(number) {
        if small >= 0x80 {
            out.push(0xcc);
        }
        out.push(small);
    } else if let Ok(medium) = u16::try_from(number) {
        out.push(0xcd);
        out.extend_from_slice(&medium.to_be_bytes());
    } else if let Ok(large) = u32::try_from(number) {
        out.push(0xce);
        out.extend_from_slice(&large.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends an array of numbers.
///
/// # Panics
/// If there are more than 15 of them.
pub fn write_array(numbers: &[u64], out: &mut Vec<u8>) {
    assert!(numbers.len() <= 15, "an array with a head of one byte");
    out.push(0x90 | numbers.len() as u8);
    for &number in numbers {
        write_unsigned(number, out);
    }
}

#[inline]
pub(crate) fn event(bytes: &[u8]) -> Result<(Event, Range<usize>), Malformed> {
    let mut reader = Reader::new(bytes);
    let fields = reader.array()?;
    match (reader.unsigned()?, fields) {
        (0, PERSON_FIELDS) => Ok((Event::Person, 0..0)),
        (1, AUCTION_FIELDS) => {
            let id = reader.unsigned()?;
            // Item name, description, initial bid, reserve, date and time, expires.
            for _ in 0..6 {
                reader.skip()?;
            }
            Ok((Event::Auction(Auction { id, seller: reader.unsigned()? }), 0..0))
        }
        (2, BID_FIELDS) => {
            let (auction, bidder) = (reader.unsigned()?, reader.unsigned()?);
            let start = bytes.len() - reader.rest().len();
            let price = reader.unsigned()?;
            let place = start..bytes.len() - reader.rest().len();
            Ok((Event::Bid(Bid { auction, bidder, price }), place))
        }
        (0..=2, _) => Err(Malformed("another number of fields")),
        _ => Err(Malformed("unknown kind")),
    }
}

#[inline]
pub(crate) fn uniform(bytes: &[u8]) -> Result<Uniform, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.array()? != 3 {
        return Err(Malformed("another number of fields"));
    }
    let (key, value) = (reader.unsigned()?, reader.unsigned()?);
    reader.skip()?;
    Ok(Uniform { key, value })
}
