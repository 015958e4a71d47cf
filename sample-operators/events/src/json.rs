//! Events as JSON objects, read in place.
//!
//! One pass over the fields of the object. What no operator computes with is skipped and not checked: to check and
//! decode all of it, as serde_json does, took more than half of the time of a job on files. Invariant: nothing is read
//! beyond the bytes, however they end.

use std::ops::Range;

use memchr::memchr2;

use crate::{Auction, Bid, Event, Malformed, Uniform};

const TRUNCATED: Malformed = Malformed("the JSON ends too early");
const NO_OBJECT: Malformed = Malformed("not the JSON object that belongs here");
const MISSING: Malformed = Malformed("a field is missing");

/// Where the values of an event's fields are; which of them belong to it, its type says.
#[derive(Default)]
struct Places {
    kind: Option<Range<usize>>,
    id: Option<Range<usize>>,
    seller: Option<Range<usize>>,
    auction: Option<Range<usize>>,
    bidder: Option<Range<usize>>,
    price: Option<Range<usize>>,
}

pub(crate) fn event(bytes: &[u8]) -> Result<(Event, Range<usize>), Malformed> {
    let mut places = Places::default();
    each_field(bytes, |name, value| {
        let place = match name {
            b"type" => &mut places.kind,
            b"id" => &mut places.id,
            b"seller" => &mut places.seller,
            b"auction" => &mut places.auction,
            b"bidder" => &mut places.bidder,
            b"price" => &mut places.price,
            _ => return Ok(()),
        };
        set(place, value)
    })?;
    match &bytes[places.kind.ok_or(MISSING)?] {
        b"\"person\"" => Ok((Event::Person, 0..0)),
        b"\"auction\"" => {
            let (id, seller) = (number(bytes, places.id)?, number(bytes, places.seller)?);
            Ok((Event::Auction(Auction { id, seller }), 0..0))
        }
        b"\"bid\"" => {
            let place = places.price.clone().ok_or(MISSING)?;
            let (auction, bidder) = (number(bytes, places.auction)?, number(bytes, places.bidder)?);
            let price = number(bytes, places.price)?;
            Ok((Event::Bid(Bid { auction, bidder, price }), place))
        }
        _ => Err(Malformed("unknown kind")),
    }
}

pub(crate) fn uniform(bytes: &[u8]) -> Result<Uniform, Malformed> {
    let (mut key, mut value) = (None, None);
    each_field(bytes, |name, place| match name {
        b"key" => set(&mut key, place),
        b"value" => set(&mut value, place),
        _ => Ok(()),
    })?;
    Ok(Uniform { key: number(bytes, key)?, value: number(bytes, value)? })
}

fn set(place: &mut Option<Range<usize>>, value: Range<usize>) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed("a field that comes twice")),
    }
}

fn number(bytes: &[u8], place: Option<Range<usize>>) -> Result<u64, Malformed> {
    let digits = &bytes[place.ok_or(MISSING)?];
    let number = match digits {
        [] | [b'0', _, ..] => None,
        // So few that they cannot be too large.
        _ if digits.len() < 20 => digits.iter().try_fold(0_u64, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            (digit < 10).then(|| number * 10 + u64::from(digit))
        }),
        [b'1', ..] => str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        _ => None,
    };
    number.ok_or(Malformed("no unsigned integer where one belongs"))
}

/// Calls `each` with the name of a field, as it is written, and the place of its value.
#[inline(always)]
fn each_field<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(&'a [u8], Range<usize>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    reader.expect(b'{')?;
    if reader.next()? == b'}' {
        return reader.end();
    }
    loop {
        reader.expect(b'"')?;
        let start = reader.at;
        reader.end_string()?;
        let name = &bytes[start..reader.at - 1];
        reader.expect(b':')?;
        each(name, reader.value()?)?;
        match reader.next()? {
            b',' => reader.at += 1,
            b'}' => return reader.end(),
            _ => return Err(NO_OBJECT),
        }
    }
}

/// A position in JSON.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is no blank. It is not passed.
    #[inline(always)]
    fn next(&mut self) -> Result<u8, Malformed> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(TRUNCATED),
            }
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.next()? != byte {
            return Err(NO_OBJECT);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes the end of the object, behind which there may be blanks only.
    fn end(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.next() {
            Err(_) => Ok(()),
            Ok(_) => Err(NO_OBJECT),
        }
    }

    /// Passes the rest of a string and the quote at its end.
    #[inline(always)]
    fn end_string(&mut self) -> Result<(), Malformed> {
        loop {
            let rest = self.bytes.get(self.at..).ok_or(TRUNCATED)?;
            let end = memchr2(b'"', b'\\', rest).ok_or(TRUNCATED)?;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Ok(());
            }
            // What is escaped may be a quote.
            self.at += 1;
        }
    }

    /// Passes a value; answers where it is.
    #[inline(always)]
    fn value(&mut self) -> Result<Range<usize>, Malformed> {
        let first = self.next()?;
        let start = self.at;
        match first {
            b'"' => {
                self.at += 1;
                self.end_string()?;
            }
            b'{' | b'[' => self.end_nested()?,
            _ => {
                let rest = &self.bytes[start..];
                let end = memchr2(b',', b'}', rest).ok_or(TRUNCATED)?;
                self.at += rest[..end].trim_ascii_end().len();
            }
        }
        Ok(start..self.at)
    }

    /// Passes an object or array within the event.
    fn end_nested(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_u32;
        loop {
            let byte = self.next()?;
            self.at += 1;
            match byte {
                b'"' => self.end_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => return Ok(()),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// What serde_json reads.
    fn expected(text: &str) -> Option<Event> {
        let object: Map<String, Value> = serde_json::from_str(text).ok()?;
        let number = |name: &str| object.get(name)?.as_u64();
        match object.get("type")?.as_str()? {
            "person" => Some(Event::Person),
            "auction" => {
                Some(Event::Auction(Auction { id: number("id")?, seller: number("seller")? }))
            }
            "bid" => Some(Event::Bid(Bid {
                auction: number("auction")?,
                bidder: number("bidder")?,
                price: number("price")?,
            })),
            _ => None,
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<u64>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            "\\PC*|[\"\\\\{}\\[\\]:, \n]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[a-z\"\\\\]*", inner), 0..3)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    fn fields() -> impl Strategy<Value = Vec<(String, Value)>> {
        let kind = prop_oneof!["person", "auction", "bid", "bids"].prop_map(Value::from);
        let needed = (kind, prop::array::uniform5(0_u64..1 << 54)).prop_map(|(kind, numbers)| {
            let names = ["id", "seller", "auction", "bidder", "price"];
            let numbers = names.iter().zip(numbers).map(|(name, n)| (name.to_string(), n.into()));
            [("type".to_owned(), kind)].into_iter().chain(numbers).collect::<Vec<_>>()
        });
        let others = prop::collection::vec(("x[a-z\"\\\\]*", values()), 0..5);
        let spoilt = prop::option::of((0_usize..6, values()));
        (needed, others, spoilt).prop_flat_map(|(mut fields, others, spoilt)| {
            if let Some((index, value)) = spoilt {
                fields[index].1 = value;
            }
            Just([fields, others].concat()).prop_shuffle()
        })
    }

    proptest! {
        #[test]
        fn an_event_is_read_as_serde_json_reads_it(fields in fields(), pretty: bool) {
            let object = Value::from(fields.into_iter().collect::<Map<_, _>>());
            let text = if pretty { format!(" {object:#}\r\n") } else { object.to_string() };
            let found = event(text.as_bytes());
            prop_assert_eq!(found.clone().ok().map(|(event, _)| event), expected(&text));
            if let Ok((Event::Bid(bid), place)) = found {
                prop_assert_eq!(&text[place], bid.price.to_string());
            }
            for end in 0..text.trim_end().len() {
                prop_assert!(event(&text.as_bytes()[..end]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[{}\\[\\]\":, \\\\a0]*") {
            event(&bytes).ok();
            event(text.as_bytes()).ok();
            uniform(text.as_bytes()).ok();
        }
    }

    #[test]
    fn what_is_no_event_is_refused_with_a_reason() {
        let reason = |text: &str| event(text.as_bytes()).unwrap_err().0;
        assert_eq!(reason(""), "the JSON ends too early");
        assert_eq!(reason("[]"), "not the JSON object that belongs here");
        assert_eq!(reason("{}"), "a field is missing");
        assert_eq!(reason(r#"{"type":"bid"} x"#), "not the JSON object that belongs here");
        assert_eq!(reason(r#"{"type":"person","type":"bid"}"#), "a field that comes twice");
        assert_eq!(reason(r#"{"type":"bid" "price":1}"#), "not the JSON object that belongs here");
        assert_eq!(reason(r#"{"type":"seller"}"#), "unknown kind");
        for number in ["", "-1", "1.0", "1e3", "01", "\"1\"", "18446744073709551616", "1 2"] {
            let text = format!(r#"{{"type":"auction","id":7,"seller":{number}}}"#);
            assert_eq!(reason(&text), "no unsigned integer where one belongs", "{number}");
        }
    }

    #[test]
    fn uniform_events_are_read_whatever_else_they_have() {
        let text = json!({ "value": u64::MAX, "ts": [{ "a": "}" }], "key": 0 }).to_string();
        let found = uniform(text.as_bytes());
        assert_eq!(found, Ok(Uniform { key: 0, value: u64::MAX }));
    }
}
