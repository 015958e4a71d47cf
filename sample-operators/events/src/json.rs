//! Events as JSON objects, borrowed by serde_json.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Auction, Bid, Event, Malformed, Uniform, write_decimal};

/// The numbers of any event; which of them belong to it, its type says.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    r#type: &'a str,
    id: Option<u64>,
    seller: Option<u64>,
    auction: Option<u64>,
    bidder: Option<u64>,
    price: Option<u64>,
}

#[derive(Deserialize)]
struct Price<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
}

#[derive(Deserialize)]
struct UniformFields {
    key: u64,
    value: u64,
}

pub(crate) fn event(bytes: &[u8]) -> Result<Event, Malformed> {
    let fields: Fields<'_> = object(bytes)?;
    let field = |number: Option<u64>| number.ok_or(Malformed("a field is missing"));
    match fields.r#type {
        "person" => Ok(Event::Person),
        "auction" => {
            let (id, seller) = (field(fields.id)?, field(fields.seller)?);
            Ok(Event::Auction(Auction { id, seller }))
        }
        "bid" => Ok(Event::Bid(Bid {
            auction: field(fields.auction)?,
            bidder: field(fields.bidder)?,
            price: field(fields.price)?,
        })),
        _ => Err(Malformed("unknown kind")),
    }
}

pub(crate) fn write_with_price(
    bytes: &[u8],
    price: u64,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let before: Price<'_> = object(bytes)?;
    let before = before.price.get();
    // The raw value is a slice of the event: its place tells what is around it.
    let start = before.as_ptr().addr() - bytes.as_ptr().addr();
    out.extend_from_slice(&bytes[..start]);
    write_decimal(price, out);
    out.extend_from_slice(&bytes[start + before.len()..]);
    Ok(())
}

pub(crate) fn uniform(bytes: &[u8]) -> Result<Uniform, Malformed> {
    let UniformFields { key, value } = object(bytes)?;
    Ok(Uniform { key, value })
}

fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|_| Malformed("not the JSON object that belongs here"))
}
