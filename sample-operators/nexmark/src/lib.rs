//! The Nexmark queries that need no state, and the split that the others begin with.
//!
//! | `query` | does |
//! |---|---|
//! | `q0` | passes bids on |
//! | `q1` | passes bids on with their price in another currency |
//! | `q2` | says auction and price of the bids for some auctions |
//! | `prices` | says the prices of bids, keyed by auction |
//! | `split` | parts bids and auctions, both keyed by auction |
//!
//! An event keeps its encoding, JSON or MessagePack.

use std::ops::Range;

use nexmark_events::{Auction, Bid, Encoding, Event, msgpack, write_decimal};
use tidemill_sdk::{
    CodecError, Context, Description, Encode, OpenContext, Operator, Output, Record, Result,
    ResultExt,
};

/// The operator. An event that cannot be read is a bad record.
#[derive(Debug)]
pub struct Nexmark {
    query: Query,
    bids: Output,
    auctions: Output,
    prices: Output,
    key: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Query {
    PassThrough,
    ConvertCurrency,
    SelectAuctions,
    Prices,
    Split,
}

impl Operator for Nexmark {
    fn describe() -> Description {
        Description::new("nexmark", env!("CARGO_PKG_VERSION"))
            .input("events")
            .output("bids")
            .output("auctions")
            .output_of::<u64>("prices")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        let queries = [
            ("q0", Query::PassThrough),
            ("q1", Query::ConvertCurrency),
            ("q2", Query::SelectAuctions),
            ("prices", Query::Prices),
            ("split", Query::Split),
        ];
        Ok(Self {
            query: ctx.choice("query", &queries)?,
            bids: ctx.output("bids")?,
            auctions: ctx.output("auctions")?,
            prices: ctx.output("prices")?,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let event = record.value();
        let (parsed, place) = Event::parse_placed(event).or_bad_record("record")?;
        match (parsed, self.query) {
            (Event::Bid(_), Query::PassThrough) => ctx.to(self.bids).emit_unkeyed(event),
            (Event::Bid(bid), Query::ConvertCurrency) => self.convert(event, bid, place, ctx),
            (Event::Bid(bid), Query::SelectAuctions) => self.select(event, bid, ctx),
            (Event::Bid(bid), Query::Prices) => {
                self.pass_keyed(self.prices, bid.auction, &bid.price, ctx)
            }
            (Event::Bid(Bid { auction, .. }), Query::Split) => {
                self.pass_keyed(self.bids, auction, event, ctx)
            }
            (Event::Auction(Auction { id, .. }), Query::Split) => {
                self.pass_keyed(self.auctions, id, event, ctx)
            }
            (Event::Auction(_) | Event::Person, _) => Ok(()),
        }
    }
}

impl Nexmark {
    fn convert(
        &self,
        event: &[u8],
        bid: Bid,
        place: Range<usize>,
        ctx: &mut Context,
    ) -> Result<()> {
        let price = bid.price.wrapping_mul(908) / 1000;
        ctx.to(self.bids).emit_unkeyed(&Priced { event, place, price })
    }

    fn select(&mut self, event: &[u8], bid: Bid, ctx: &mut Context) -> Result<()> {
        let Bid { auction, price, .. } = bid;
        if !auction.is_multiple_of(123) {
            return Ok(());
        }
        self.value.clear();
        match Encoding::of(event).or_bad_record("record")? {
            Encoding::MsgPack => msgpack::write_array(&[auction, price], &mut self.value),
            Encoding::Json => {
                self.value.extend(b"{\"auction\":");
                write_decimal(auction, &mut self.value);
                self.value.extend(b",\"price\":");
                write_decimal(price, &mut self.value);
                self.value.push(b'}');
            }
        }
        ctx.to(self.bids).emit_unkeyed(&self.value)
    }

    fn pass_keyed<T: Encode + ?Sized>(
        &mut self,
        output: Output,
        auction: u64,
        value: &T,
        ctx: &mut Context,
    ) -> Result<()> {
        self.key.clear();
        write_decimal(auction, &mut self.key);
        ctx.to(output).emit_keyed(&self.key, value)
    }
}

/// A bid with another price, written straight into the output.
struct Priced<'a> {
    event: &'a [u8],
    /// Where the price is.
    place: Range<usize>,
    price: u64,
}

impl Encode for Priced<'_> {
    const WIDTH: Option<u32> = None;

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Bid::write_with_price(self.event, self.place.clone(), self.price, out)
            .map_err(|malformed| CodecError::new(malformed.to_string()))
    }
}

tidemill_sdk::export!(Nexmark);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Harness;

    use super::*;

    const BID: &[u8] = br#"{"type":"bid","auction":1230,"bidder":7,"price":2500,"channel":"c","url":"u","date_time":1,"extra":""}"#;
    const OTHER_BID: &[u8] = br#"{"type":"bid","auction":1231,"bidder":7,"price":1,"channel":"c","url":"u","date_time":1,"extra":""}"#;
    const AUCTION: &[u8] = br#"{"type":"auction","id":1231,"item_name":"","description":"","initial_bid":1,"reserve":2,"date_time":1,"expires":2,"seller":3,"category":4,"extra":""}"#;
    const PERSON: &[u8] = br#"{"type":"person","id":1,"name":"","email":"","credit_card":"","city":"","state":"","date_time":1,"extra":""}"#;
    // [2, 1230, 7, 2500, "c", "u", 1, ""]
    const PACKED_BID: &[u8] = b"\x98\x02\xcd\x04\xce\x07\xcd\x09\xc4\xa1c\xa1u\x01\xa0";

    fn run(query: &str, events: &[&[u8]]) -> Harness<Nexmark> {
        let mut harness = Harness::new().config("query", query).open().unwrap();
        harness.send_unkeyed("events", events).unwrap();
        harness
    }

    fn values(harness: &Harness<Nexmark>) -> Vec<Vec<u8>> {
        assert!(harness.emitted("bids").iter().all(|bid| bid.key.is_none()));
        harness.outputs("bids").into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn q0_passes_bids_on_as_they_came() {
        let harness = run("q0", &[PERSON, BID, AUCTION, PACKED_BID, OTHER_BID]);
        assert_eq!(values(&harness), [BID, PACKED_BID, OTHER_BID]);
        assert!(harness.rejected().is_empty());
    }

    #[test]
    fn q1_changes_the_price_and_nothing_else() {
        let harness = run("q1", &[BID, PERSON, PACKED_BID]);
        let bid = str::from_utf8(BID).unwrap().replace("2500", "2270").into_bytes();
        let mut packed = PACKED_BID.to_vec();
        packed[6..9].copy_from_slice(&[0xcd, 0x08, 0xde]);
        assert_eq!(values(&harness), [bid, packed]);
    }

    #[test]
    fn q2_says_auction_and_price_for_every_123rd_auction() {
        let harness = run("q2", &[BID, OTHER_BID, PACKED_BID]);
        let json = br#"{"auction":1230,"price":2500}"#.as_slice();
        assert_eq!(values(&harness), [json, b"\x92\xcd\x04\xce\xcd\x09\xc4"]);
    }

    #[test]
    fn split_keys_bids_and_auctions_by_auction() {
        let harness = run("split", &[BID, AUCTION, PERSON, PACKED_BID]);
        let keyed = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
        assert_eq!(harness.outputs("bids"), [keyed(b"1230", BID), keyed(b"1230", PACKED_BID)]);
        assert_eq!(harness.outputs("auctions"), [keyed(b"1231", AUCTION)]);
    }

    #[test]
    fn prices_are_keyed_by_auction() {
        let harness = run("prices", &[BID, PERSON, AUCTION, PACKED_BID, OTHER_BID]);
        let prices = harness.outputs_as::<String, u64>("prices").unwrap();
        let expected = [("1230", 2500), ("1230", 2500), ("1231", 1)];
        assert_eq!(prices, expected.map(|(auction, price)| (auction.to_owned(), price)));
    }

    #[test]
    fn a_malformed_event_is_rejected_alone() {
        let harness = run("q0", &[BID, b"bid", &PACKED_BID[..5], BID]);
        assert_eq!(values(&harness), [BID, BID]);
        assert_eq!(harness.rejected().len(), 2);
    }

    #[test]
    fn another_query_is_refused() {
        assert!(Harness::<Nexmark>::new().config("query", "q9").open().unwrap_err().is_fatal());
    }
}
