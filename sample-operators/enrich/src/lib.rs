//! Joins each bid with the seller of its auction.
//!
//! Both inputs are keyed by auction. A bid that comes before its auction waits; so each pair of a
//! bid and its auction goes out once, whatever the order in which the inputs arrive.

use nexmark_events::{Auction, Bid, Event, msgpack};
use tidemill_sdk::{
    Context, Description, Error, Input, ListState, OpenContext, Operator, Record, Result,
    ResultExt, ValueState,
};

/// The operator. An event of another kind than its input says is a bad record.
#[derive(Debug)]
pub struct Enrich {
    bids: Input,
    seller: ValueState<u64>,
    /// Bidder and price of the bids without an auction so far.
    waiting: ListState<(u64, u64)>,
    value: Vec<u8>,
}

impl Operator for Enrich {
    fn describe() -> Description {
        Description::new("enrich", env!("CARGO_PKG_VERSION"))
            .keyed_input("bids")
            .keyed_input("auctions")
            .output("enriched")
            .value_state::<u64>("seller")
            .list_state::<(u64, u64)>("waiting")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self {
            bids: ctx.input("bids")?,
            seller: ctx.value_state("seller")?,
            waiting: ctx.list_state("waiting")?,
            value: Vec::new(),
        })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let event = Event::parse(record.value()).or_bad_record("record")?;
        match (event, record.input() == self.bids) {
            (Event::Bid(bid), true) => self.process_bid(bid, ctx),
            (Event::Auction(auction), false) => self.process_auction(auction, ctx),
            _ => Err(Error::bad_record("an event that does not belong to the input")),
        }
    }
}

impl Enrich {
    fn process_bid(&mut self, bid: Bid, ctx: &mut Context) -> Result<()> {
        match self.seller.get(ctx)? {
            Some(seller) => self.emit(bid, seller, ctx),
            None => self.waiting.append(ctx, &(bid.bidder, bid.price)),
        }
    }

    fn process_auction(&mut self, auction: Auction, ctx: &mut Context) -> Result<()> {
        self.seller.set(ctx, &auction.seller)?;
        for (bidder, price) in self.waiting.take(ctx)? {
            self.emit(Bid { auction: auction.id, bidder, price }, auction.seller, ctx)?;
        }
        Ok(())
    }

    fn emit(&mut self, bid: Bid, seller: u64, ctx: &mut Context) -> Result<()> {
        let Bid { auction, bidder, price } = bid;
        self.value.clear();
        msgpack::write_array(&[auction, bidder, price, seller], &mut self.value);
        ctx.emit(&self.value)
    }
}

tidemill_sdk::export!(Enrich);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Harness;

    use super::*;

    fn bid(auction: u64, bidder: u64) -> (String, String) {
        let bid = format!(
            r#"{{"type":"bid","auction":{auction},"bidder":{bidder},"price":5,"channel":"","url":"","date_time":1,"extra":""}}"#
        );
        (auction.to_string(), bid)
    }

    fn auction(id: u64) -> (String, String) {
        let auction = format!(
            r#"{{"type":"auction","id":{id},"item_name":"","description":"","initial_bid":1,"reserve":2,"date_time":1,"expires":2,"seller":{},"category":4,"extra":""}}"#,
            100 + id
        );
        (id.to_string(), auction)
    }

    fn enriched(auction: u64, bidder: u64) -> (Vec<u8>, Vec<u8>) {
        let mut value = Vec::new();
        msgpack::write_array(&[auction, bidder, 5, 100 + auction], &mut value);
        (auction.to_string().into_bytes(), value)
    }

    #[test]
    fn bids_wait_for_their_auction_and_go_out_in_order() {
        let mut harness = Harness::<Enrich>::new().open().unwrap();
        harness.send("bids", &[bid(1, 11), bid(2, 21), bid(1, 12)]).unwrap();
        assert!(harness.outputs("enriched").is_empty());
        harness.send("auctions", &[auction(1)]).unwrap();
        harness.send("bids", &[bid(1, 13)]).unwrap();
        let expected = [enriched(1, 11), enriched(1, 12), enriched(1, 13)];
        assert_eq!(harness.outputs("enriched"), expected);
        assert_eq!(harness.list::<(u64, u64)>("waiting", "1").unwrap(), []);
        assert_eq!(harness.list::<(u64, u64)>("waiting", "2").unwrap(), [(21, 5)]);
    }

    #[test]
    fn the_result_is_the_same_multiset_whatever_the_order() {
        let bids: Vec<_> = (0..300).map(|n| bid(n * 7 % 20, n)).collect();
        let auctions: Vec<_> = (0..20).map(auction).collect();
        let run = |turns: &[(usize, usize)]| {
            let mut harness = Harness::<Enrich>::new().batches_up_to(40, 9).open().unwrap();
            let (mut bids, mut auctions) = (bids.as_slice(), auctions.as_slice());
            for &(some_bids, some_auctions) in turns {
                let (now, later) = bids.split_at(some_bids);
                harness.send("bids", now).unwrap();
                bids = later;
                let (now, later) = auctions.split_at(some_auctions);
                harness.send("auctions", now).unwrap();
                auctions = later;
            }
            let mut outputs = harness.outputs("enriched");
            outputs.sort_unstable();
            outputs
        };
        let auctions_first = run(&[(0, 20), (300, 0)]);
        assert_eq!(auctions_first.len(), 300);
        assert_eq!(run(&[(300, 20)]), auctions_first);
        assert_eq!(run(&[(50, 3), (100, 7), (0, 5), (150, 5)]), auctions_first);
    }

    #[test]
    fn events_of_the_other_kind_are_rejected() {
        let mut harness = Harness::<Enrich>::new().open().unwrap();
        harness.send("bids", &[auction(1), bid(1, 2)]).unwrap();
        harness.send("auctions", &[bid(1, 3), auction(1)]).unwrap();
        assert_eq!(harness.rejected().len(), 2);
        assert_eq!(harness.outputs("enriched"), [enriched(1, 2)]);
    }
}
