//! Keeps the highest bids of all, and emits them when the input ends.
//!
//! They belong to no key, so they stay in the operator's own memory; the host saves them with each checkpoint.
//! Each task has a list of its own: run it with parallelism 1 for the highest of the whole stream.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use nexmark_events::{Bid, Event, msgpack};
use tidemill_sdk::{
    Context, Description, Error, OpenContext, Operator, Record, Result, ResultExt, Snapshot,
};

/// Bytes of a saved bid.
const BID_BYTES: usize = 24;

/// The operator. Events of other kinds than bids are passed over.
#[derive(Debug)]
pub struct TopBids {
    count: usize,
    /// Price, auction and bidder; the lowest is the first to go. Bids that are equal in all count each.
    highest: BinaryHeap<Reverse<[u64; 3]>>,
}

impl Operator for TopBids {
    fn describe() -> Description {
        Description::new("top-bids", env!("CARGO_PKG_VERSION")).input("events").output("highest")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self { count: ctx.config_or("count", 10)?, highest: BinaryHeap::new() })
    }

    fn process(&mut self, record: Record<'_>, _ctx: &mut Context) -> Result<()> {
        // A record that cannot be parsed is answered before anything is changed.
        if let Event::Bid(Bid { auction, bidder, price }) =
            Event::parse(record.value()).or_bad_record("record")?
        {
            self.add([price, auction, bidder]);
        }
        Ok(())
    }

    fn close(&mut self, ctx: &mut Context) -> Result<()> {
        for [price, auction, bidder] in self.in_order() {
            let mut value = Vec::new();
            msgpack::write_array(&[auction, bidder, price], &mut value);
            ctx.emit_unkeyed(&value)?;
        }
        Ok(())
    }
}

impl Snapshot for TopBids {
    fn save(&self) -> Result<Vec<u8>> {
        Ok(self.in_order().into_iter().flatten().flat_map(u64::to_le_bytes).collect())
    }

    fn restore(&mut self, saved: &[u8]) -> Result<()> {
        let (bids, []) = saved.as_chunks::<BID_BYTES>() else {
            return Err(Error::fatal("what was saved are no whole bids"));
        };
        for bid in bids {
            let (numbers, _) = bid.as_chunks();
            // Added one by one: the configuration may ask for fewer now.
            self.add([0, 1, 2].map(|at| u64::from_le_bytes(numbers[at])));
        }
        Ok(())
    }
}

impl TopBids {
    fn add(&mut self, bid: [u64; 3]) {
        self.highest.push(Reverse(bid));
        if self.highest.len() > self.count {
            self.highest.pop();
        }
    }

    /// The bids, the highest first.
    fn in_order(&self) -> Vec<[u64; 3]> {
        let bids = self.highest.clone().into_sorted_vec();
        bids.into_iter().map(|Reverse(bid)| bid).collect()
    }
}

tidemill_sdk::export!(TopBids, snapshot);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Harness;

    use super::*;

    fn bid(auction: u64, price: u64) -> String {
        format!(
            r#"{{"type":"bid","auction":{auction},"bidder":7,"price":{price},"channel":"","url":"","date_time":1,"extra":""}}"#
        )
    }

    /// Prices and auctions of what is emitted in the end.
    fn highest(harness: &mut Harness<TopBids>) -> Vec<Vec<u8>> {
        harness.close().unwrap();
        harness.outputs("highest").into_iter().map(|(_, value)| value).collect()
    }

    fn expected(bids: &[(u64, u64)]) -> Vec<Vec<u8>> {
        let value = |&(auction, price): &(u64, u64)| {
            let mut value = Vec::new();
            msgpack::write_array(&[auction, 7, price], &mut value);
            value
        };
        bids.iter().map(value).collect()
    }

    fn opened(count: &str) -> Harness<TopBids> {
        let harness = Harness::new().with_snapshot().config("count", count);
        harness.batches_up_to(4, 11).open().unwrap()
    }

    #[test]
    fn the_highest_bids_outlive_the_sandbox_and_come_in_order() {
        let mut harness = opened("3");
        let bids: Vec<_> = (0..100).map(|n| bid(n, n * 37 % 101)).collect();
        harness.send_unkeyed("events", &bids).unwrap();
        assert_eq!(harness.saved().map(<[u8]>::len), Some(3 * BID_BYTES));
        assert_eq!(highest(&mut harness), expected(&[(30, 100), (60, 99), (90, 98)]));
    }

    #[test]
    fn equal_bids_count_each_and_what_is_no_event_is_rejected() {
        let mut harness = opened("2");
        harness.send_unkeyed("events", &[bid(1, 5), "no event".to_owned(), bid(1, 5)]).unwrap();
        assert_eq!(harness.rejected().len(), 1);
        assert_eq!(highest(&mut harness), expected(&[(1, 5), (1, 5)]));
    }

    #[test]
    fn half_a_bid_is_not_restored() {
        let mut top = TopBids { count: 3, highest: BinaryHeap::new() };
        assert!(top.restore(&[0; BID_BYTES + 1]).unwrap_err().is_fatal());
    }
}
