//! Counts records and adds up their values, for many keys.
//!
//! Like the count of bids, but with a million keys: what is measured is access to state. Values
//! are events of the uniform stream. Count and sum so far go out for each record.

use nexmark_events::Uniform;
use tidemill_sdk::{
    Context, Description, OpenContext, Operator, Record, Result, ResultExt, ValueState,
};

/// The operator. A value that is no event is a bad record.
#[derive(Debug)]
pub struct Heavy {
    /// Count and sum of values.
    seen: ValueState<(u64, u64)>,
}

impl Operator for Heavy {
    fn describe() -> Description {
        Description::new("heavy", env!("CARGO_PKG_VERSION"))
            .keyed_input("records")
            .output_of::<(u64, u64)>("counts")
            .value_state::<(u64, u64)>("seen")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self { seen: ctx.value_state("seen")? })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let event = Uniform::parse(record.value()).or_bad_record("record")?;
        let seen = self.seen.update(ctx, |seen| {
            let (count, sum) = seen.unwrap_or_default();
            (count + 1, sum.wrapping_add(event.value))
        })?;
        ctx.emit(&seen)
    }
}

tidemill_sdk::export!(Heavy);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use nexmark_events::msgpack;
    use tidemill_sdk::testing::Harness;

    use super::*;

    fn event(key: u64, value: u64) -> (String, Vec<u8>) {
        let mut bytes = Vec::new();
        msgpack::write_array(&[key, value, 1_700_000_000_000], &mut bytes);
        (key.to_string(), bytes)
    }

    #[test]
    fn counts_and_sums_are_those_of_a_plain_loop() {
        let events = (0..2000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9) % 97, n * 7 % 1000));
        let mut seen = HashMap::new();
        let expected: Vec<_> = events
            .clone()
            .map(|(key, value)| {
                let (count, sum) = seen.entry(key).or_insert((0, 0));
                (*count, *sum) = (*count + 1, *sum + value);
                (key.to_string(), (*count, *sum))
            })
            .collect();
        let mut harness = Harness::<Heavy>::new().batches_up_to(300, 5).open().unwrap();
        let records: Vec<_> = events.map(|(key, value)| event(key, value)).collect();
        harness.send("records", &records).unwrap();
        assert_eq!(harness.outputs_as::<String, (u64, u64)>("counts").unwrap(), expected);
    }

    #[test]
    fn either_encoding_counts_and_others_are_rejected() {
        let mut harness = Harness::<Heavy>::new().open().unwrap();
        let json = br#"{"key":5,"value":10,"ts":1}"#.to_vec();
        let records = [event(5, 1), ("5".into(), json), ("5".into(), b"5".to_vec())];
        harness.send("records", &records).unwrap();
        assert_eq!(harness.value("seen", "5").unwrap(), Some((2_u64, 11_u64)));
        assert_eq!(harness.rejected().len(), 1);
    }
}
