//! Events as JSON objects, borrowed by serde_json.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Auction, Bid, Event, Malformed, Uniform};

/// The numbers of any event; which of them belong to it, its type says.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    r#type: &'a str,
    id: Option<u64>,
    seller: Option<u64>,
    auction: Option<u64>,
    bidder: Option<u64>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UniformFields {
    key: u64,
    value: u64,
}

pub(crate) fn event(bytes: &[u8]) -> Result<(Event, Range<usize>), Malformed> {
    let fields: Fields<'_> = object(bytes)?;
    let field = |number: Option<u64>| number.ok_or(Malformed("a field is missing"));
    match fields.r#type {
        "person" => Ok((Event::Person, 0..0)),
        "auction" => {
            let (id, seller) = (field(fields.id)?, field(fields.seller)?);
            Ok((Event::Auction(Auction { id, seller }), 0..0))
        }
        "bid" => {
            let price = fields.price.ok_or(Malformed("a field is missing"))?.get();
            // The raw value is a slice of the event.
            let start = price.as_ptr().addr() - bytes.as_ptr().addr();
            let place = start..start + price.len();
            let price = price.parse().map_err(|_| Malformed("a price that is no number"))?;
            let (auction, bidder) = (field(fields.auction)?, field(fields.bidder)?);
            Ok((Event::Bid(Bid { auction, bidder, price }), place))
        }
        _ => Err(Malformed("unknown kind")),
    }
}

pub(crate) fn uniform(bytes: &[u8]) -> Result<Uniform, Malformed> {
    let UniformFields { key, value } = object(bytes)?;
    Ok(Uniform { key, value })
}

fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(|_| Malformed("not the JSON object that belongs here"))
}
