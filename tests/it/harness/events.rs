//! What the generated streams hold, and what the sample operators make of it, computed anew.
//!
//! The events come from the binary's own generator, whose first thousand are compared with published
//! digests; everything after that is the tests' own arithmetic.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Place;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// The check sum of outputs, whatever their order: the sum over all of them.
pub(crate) fn sum<R: AsRef<[u64]>>(outputs: impl IntoIterator<Item = R>) -> u64 {
    let of_fields = |fields: R| {
        fields
            .as_ref()
            .iter()
            .fold(0u64, |x, field| mix(x.wrapping_add(*field).wrapping_add(GOLDEN)))
    };
    outputs.into_iter().map(of_fields).fold(0, u64::wrapping_add)
}

/// The first `count` records of a stream, as lines.
pub(crate) fn generated(stream: &str, count: usize) -> Vec<String> {
    let place = Place::with_job(&format!(
        r#"
        name = "events"
        [sources.events]
        connector = "nexmark"
        stream = "{stream}"
        events = {count}
        [sinks.out]
        connector = "file"
        from = "events"
        path = "out"
        "#
    ));
    let report = place.run().report();
    assert_eq!(report["records_out"], count);
    place.lines("out")
}

/// A bid, as far as the sample operators look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
}

/// Bids in their order, and the seller of each auction.
#[derive(Debug, Default)]
pub(crate) struct Trade {
    pub(crate) bids: Vec<Bid>,
    pub(crate) sellers: BTreeMap<u64, u64>,
}

impl Trade {
    /// What the lines of the stream `nexmark` hold.
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut trade = Self::default();
        for line in lines {
            let event: Value = serde_json::from_str(line).expect("events are JSON");
            let field = |name: &str| event[name].as_u64().expect("an integer");
            match event["type"].as_str() {
                Some("bid") => trade.bids.push(Bid {
                    auction: field("auction"),
                    bidder: field("bidder"),
                    price: field("price"),
                }),
                Some("auction") => {
                    let earlier = trade.sellers.insert(field("id"), field("seller"));
                    assert_eq!(earlier, None, "an auction comes once");
                }
                _ => {}
            }
        }
        trade
    }

    /// Each bid with the seller of its auction, where there is one.
    pub(crate) fn enriched(&self) -> Vec<[u64; 4]> {
        let seller = |bid: &Bid| self.sellers.get(&bid.auction).copied();
        let enrich = |bid: &Bid| Some([bid.auction, bid.bidder, bid.price, seller(bid)?]);
        self.bids.iter().filter_map(enrich).collect()
    }
}

/// For each key, how many values it has and their sum.
pub(crate) fn totals(pairs: impl IntoIterator<Item = (u64, u64)>) -> BTreeMap<u64, (u64, u64)> {
    let mut totals = BTreeMap::<u64, (u64, u64)>::new();
    for (key, value) in pairs {
        let (count, sum) = totals.entry(key).or_default();
        *count += 1;
        *sum = sum.wrapping_add(value);
    }
    totals
}

/// Keys and values of the lines of the stream `uniform`.
pub(crate) fn uniform(lines: &[String]) -> Vec<(u64, u64)> {
    let pair = |line: &String| {
        let record: Value = serde_json::from_str(line).expect("records are JSON");
        Some((record["key"].as_u64()?, record["value"].as_u64()?))
    };
    lines.iter().map(|line| pair(line).expect("integers")).collect()
}

/// How often each word comes in lines of words that are parted by spaces.
pub(crate) fn words(lines: &[String]) -> BTreeMap<String, u64> {
    let mut words = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        *words.entry(word.to_owned()).or_insert(0) += 1;
    }
    words
}
