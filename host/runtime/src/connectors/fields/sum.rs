//! The check sum of a sink's records over their fields.
//!
//! Owns how fields add up: in order within a record, in any order between records. So two engines
//! that write the same fields in different encodings, and in another order of records, have the
//! same sum.

use crate::connectors::fields::{Decoder, Field};
use crate::connectors::nexmark::fold;
use crate::connectors::settings::Fields;

const FNV_OFFSET: u64 = 1_469_598_103_934_665_603;
const FNV_PRIME: u64 = 1_099_511_628_211;

/// Sums up records.
#[derive(Debug)]
pub(in crate::connectors) struct FieldSum {
    decoder: Decoder,
}

impl FieldSum {
    pub(in crate::connectors) fn new(fields: &Fields) -> Result<Self, String> {
        Ok(Self { decoder: Decoder::new(fields)? })
    }

    /// What a record adds to the sum.
    pub(in crate::connectors) fn of(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Result<u64, String> {
        let mut sum = 0;
        let mut add = |field: Field<'_>| {
            sum = fold(sum, number(field)?);
            Ok(())
        };
        self.decoder.key(key, &mut add)?;
        self.decoder.value(value, &mut add)?;
        Ok(sum)
    }
}

/// The number that stands for a field.
fn number(field: Field<'_>) -> Result<u64, String> {
    Ok(match field {
        Field::Unsigned(value) => value,
        Field::Signed(value) => value as u64,
        Field::Float(value) => value.to_bits(),
        Field::Boolean(value) => u64::from(value),
        Field::Number(text) => {
            match (text.parse::<u64>(), text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(value), _, _) => value,
                (_, Ok(value), _) => value as u64,
                (_, _, Ok(value)) => value.to_bits(),
                _ => return Err(format!("has the number {text}, which cannot be summed")),
            }
        }
        Field::Text(text) => fnv(text.as_bytes()),
        Field::Bytes(bytes) => fnv(bytes),
        Field::Null => {
            return Err("has a null, which cannot be summed; select other fields".to_owned());
        }
        Field::Json(_) => {
            return Err(
                "has an object or array in a field, which cannot be summed; select other fields"
                    .to_owned(),
            );
        }
    })
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::nexmark::Generator;
    use crate::connectors::settings::{Encoding, FieldType, GeneratorSource, Selector, Stream};

    /// Sums the bids of 400,000 events with the fields that `select` makes of an encoding.
    fn bids(encoding: Encoding, value: FieldType, select: Vec<Selector>) -> (u64, u64) {
        let settings = GeneratorSource {
            stream: Stream::Nexmark,
            seed: 42,
            events: None,
            partitions: 1,
            encoding,
            keys: 1_000_000,
            per_second: None,
            key: None,
        };
        let generator = Generator::new(&settings).unwrap();
        let mut sum = FieldSum::new(&Fields { key: None, value, select }).unwrap();
        let (mut count, mut total, mut event) = (0, 0u64, Vec::new());
        for n in (0..400_000).filter(|n| n % 50 >= 4) {
            event.clear();
            generator.event(n, &mut event);
            total = total.wrapping_add(sum.of(None, &event).unwrap());
            count += 1;
        }
        (count, total)
    }

    #[test]
    fn all_bids_sum_up_to_the_published_value_in_either_encoding() {
        let published = (368_000, 0xc5ab_96a8_0cc8_9bfe);
        let by_name = ["auction", "bidder", "price", "date_time", "channel", "url", "extra"];
        let by_name = by_name.iter().map(|name| Selector::Name((*name).to_owned())).collect();
        assert_eq!(bids(Encoding::Ndjson, FieldType::Json, by_name), published);
        let by_index = [1, 2, 3, 6, 4, 5, 7].map(Selector::Index).to_vec();
        assert_eq!(bids(Encoding::MessagePack, FieldType::MessagePack, by_index), published);
    }

    #[test]
    fn a_key_is_the_first_field() {
        let fields = |key, value| Fields { key, value, select: vec![] };
        let mut keyed = FieldSum::new(&fields(Some(FieldType::Text), FieldType::U64)).unwrap();
        let mut flat = FieldSum::new(&fields(None, FieldType::Json)).unwrap();
        let value = 7u64.to_le_bytes();
        assert_eq!(keyed.of(Some(b"word"), &value), flat.of(None, b"[\"word\",7]"));
        assert!(keyed.of(None, &value).unwrap_err().contains("no key"));
        assert!(flat.of(None, b"[null]").is_err() && flat.of(None, b"[[1]]").is_err());
    }
}
