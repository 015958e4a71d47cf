//! The events of the Nexmark and uniform streams, as the sample operators read them.
//!
//! An event comes as a line of JSON or as a MessagePack array; its first byte tells which. Only
//! the numbers that operators compute with are read, in place and without allocation: texts are
//! skipped. Knows nothing of operators or records.
//!
//! Fields of a MessagePack event are in the order of its JSON fields, after the kind:
//!
//! | event | kind | fields |
//! |---|---|---|
//! | person | 0 | id, name, email, credit card, city, state, date and time, extra |
//! | auction | 1 | id, item name, description, initial bid, reserve, date and time, expires, seller, category, extra |
//! | bid | 2 | auction, bidder, price, channel, url, date and time, extra |
//! | uniform | none | key, value, time |

mod json;
pub mod msgpack;

use std::error;
use std::fmt;
use std::ops::Range;

/// Bytes that are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed event: {}", self.0)
    }
}

impl error::Error for Malformed {}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A JSON object.
    Json,
    /// A MessagePack array.
    MsgPack,
}

impl Encoding {
    /// Told by the first byte.
    #[inline]
    pub fn of(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.first() {
            Some(b'{') => Ok(Self::Json),
            Some(0x90..=0x9f | 0xdc | 0xdd) => Ok(Self::MsgPack),
            Some(_) => Err(Malformed("neither a JSON object nor a MessagePack array")),
            None => Err(Malformed("no bytes")),
        }
    }
}

/// What operators need to know of a Nexmark event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody who sells and bids.
    Person,
    /// Something is for sale.
    Auction(Auction),
    /// Somebody offers a price.
    Bid(Bid),
}

/// Something is for sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auction {
    /// Its number.
    pub id: u64,
    /// The person who sells.
    pub seller: u64,
}

/// Somebody offers a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// What for.
    pub auction: u64,
    /// The person who bids.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
}

/// An event of the uniform stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uniform {
    /// Below one million.
    pub key: u64,
    /// From 1 to 10,000.
    pub value: u64,
}

impl Event {
    /// Reads an event.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self::parse_placed(bytes)?.0)
    }

    /// Reads an event, and where in its bytes the price of a bid is; nowhere for other events.
    #[inline]
    pub fn parse_placed(bytes: &[u8]) -> Result<(Self, Range<usize>), Malformed> {
        match Encoding::of(bytes)? {
            Encoding::Json => json::event(bytes),
            Encoding::MsgPack => msgpack::event(bytes),
        }
    }
}

impl Bid {
    /// Reads an event that must be a bid.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match Event::parse(bytes)? {
            Event::Bid(bid) => Ok(bid),
            Event::Person | Event::Auction(_) => Err(Malformed("no bid")),
        }
    }

    /// Appends the bid of which `bytes` is the encoding, with another price and else unchanged. `place` is where the
    /// price is, as [`Event::parse_placed`] said of the same bytes.
    pub fn write_with_price(
        bytes: &[u8],
        place: Range<usize>,
        price: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let parts = bytes.get(..place.start).zip(bytes.get(place.end..));
        let (before, after) = parts.ok_or(Malformed("the price is elsewhere"))?;
        out.extend_from_slice(before);
        match Encoding::of(bytes)? {
            Encoding::Json => write_decimal(price, out),
            Encoding::MsgPack => msgpack::write_unsigned(price, out),
        }
        out.extend_from_slice(after);
        Ok(())
    }
}

impl Uniform {
    /// Reads an event.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match Encoding::of(bytes)? {
            Encoding::Json => json::uniform(bytes),
            Encoding::MsgPack => msgpack::uniform(bytes),
        }
    }
}

/// Numbers below have up to eight digits.
const EIGHT_DIGITS: u64 = 100_000_000;

/// Appends a number as decimal text, as keys are written.
///
/// Eight digits at once, in a register: a loop would branch on how many there are, and to append a part of a buffer
/// is a call out of the sandbox.
pub fn write_decimal(number: u64, out: &mut Vec<u8>) {
    if number >= EIGHT_DIGITS {
        write_decimal(number / EIGHT_DIGITS, out);
        let digits = eight_digits((number % EIGHT_DIGITS) as u32) | ZEROS;
        return out.extend_from_slice(&digits.to_le_bytes());
    }
    let digits = eight_digits(number as u32);
    // The bit stands for the last digit, which is there even if it is 0.
    let leading_zeros = (digits | 1 << 63).trailing_zeros() / 8;
    let end = out.len() + 8 - leading_zeros as usize;
    out.extend_from_slice(&((digits | ZEROS) >> (8 * leading_zeros)).to_le_bytes());
    out.truncate(end);
}

/// Eight times the text "0".
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The digits of a number below 100,000,000, a byte each, the highest in the lowest byte. Parts of the number lie side by
/// side in the word, and are split together: in two of four digits, in four of two, in eight.
#[inline]
fn eight_digits(number: u32) -> u64 {
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    // By 100: right for numbers below 10,000, and by 10 for those below 100.
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_it_is_displayed() {
        let powers = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1]);
        let tens = (0..20).flat_map(|digits| {
            let power = 10_u64.pow(digits);
            [power - 1, power, power.wrapping_mul(7), power + 90]
        });
        let small = (0..1_100_000).step_by(7);
        let four_digits = (0..10_000).map(|n| n * 10_000 + n);
        let mut text = Vec::new();
        for number in powers.chain(tens).chain(small).chain(four_digits).chain([u64::MAX]) {
            text.clear();
            text.push(b'#');
            write_decimal(number, &mut text);
            assert_eq!(str::from_utf8(&text), Ok(format!("#{number}").as_str()));
        }
    }
}
