//! Counts the bids of each auction, and adds up their prices.
//!
//! The key of a record is the auction, its value a bid or a price. Count and sum so far go out for each bid.

use nexmark_events::Bid;
use tidemill_sdk::{
    Context, Description, OpenContext, Operator, Record, Result, ResultExt, ValueState,
};

/// The operator. A value that is no bid is a bad record.
#[derive(Debug)]
pub struct NexmarkCount {
    values: Values,
    /// Count and sum of prices.
    seen: ValueState<(u64, u64)>,
}

/// What the values of records are.
#[derive(Clone, Copy, Debug)]
enum Values {
    Bids,
    Prices,
}

impl Operator for NexmarkCount {
    fn describe() -> Description {
        Description::new("nexmark-count", env!("CARGO_PKG_VERSION"))
            .keyed_input("bids")
            .output_of::<(u64, u64)>("counts")
            .value_state::<(u64, u64)>("seen")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        let values = ctx.choice("values", &[("bids", Values::Bids), ("prices", Values::Prices)])?;
        Ok(Self { values, seen: ctx.value_state("seen")? })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let price = match self.values {
            Values::Bids => Bid::parse(record.value()).or_bad_record("record")?.price,
            Values::Prices => record.value_as().or_bad_record("record")?,
        };
        let seen = self.seen.update(ctx, |seen| {
            let (count, sum) = seen.unwrap_or_default();
            (count + 1, sum.wrapping_add(price))
        })?;
        ctx.emit(&seen)
    }
}

tidemill_sdk::export!(NexmarkCount);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Harness;

    use super::*;

    fn bid(auction: u64, price: u64) -> (String, String) {
        let bid = format!(
            r#"{{"type":"bid","auction":{auction},"bidder":1,"price":{price},"channel":"","url":"","date_time":1,"extra":""}}"#
        );
        (auction.to_string(), bid)
    }

    #[test]
    fn every_bid_gives_count_and_sum_of_its_auction() {
        let mut harness = Harness::<NexmarkCount>::new().batch_size(3).open().unwrap();
        let bids = [bid(1, 10), bid(2, 5), bid(1, 20), bid(1, 30), bid(2, 6)];
        harness.send("bids", &bids).unwrap();
        let counts = harness.outputs_as::<String, (u64, u64)>("counts").unwrap();
        let expected =
            [("1", (1, 10)), ("2", (1, 5)), ("1", (2, 30)), ("1", (3, 60)), ("2", (2, 11))];
        assert_eq!(counts, expected.map(|(auction, seen)| (auction.to_owned(), seen)));
    }

    #[test]
    fn prices_count_like_the_bids_that_they_come_from() {
        let mut harness = Harness::<NexmarkCount>::new().config("values", "prices").open().unwrap();
        let price = |price: u64| price.to_le_bytes().to_vec();
        let records = [("1", price(10)), ("2", price(5)), ("1", price(20)), ("1", vec![7])];
        harness.send("bids", &records).unwrap();
        assert_eq!(harness.value("seen", "1").unwrap(), Some((2_u64, 30_u64)));
        assert_eq!(harness.rejected().len(), 1);
    }

    #[test]
    fn what_is_no_bid_is_rejected_and_not_counted() {
        let mut harness = Harness::<NexmarkCount>::new().open().unwrap();
        harness.send("bids", &[bid(1, 10), ("1".into(), "{}".into()), bid(1, 5)]).unwrap();
        assert_eq!(harness.rejected().len(), 1);
        assert_eq!(harness.value("seen", "1").unwrap(), Some((2_u64, 15_u64)));
    }
}
