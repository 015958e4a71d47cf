//! Counts, for each word, how often it came.
//!
//! The word is the key of a record, its value is of no interest. With `emit = "every"` the count
//! goes out for each record; with `emit = "latest"` once for each word of a batch, so that how
//! often depends on how records are batched, while the last count of a word does not.

use tidemill_sdk::{
    BadRecord, BatchContext, Context, Description, InputBatch, OpenContext, Operator, Record,
    Result, ValueState,
};

/// The operator.
#[derive(Debug)]
pub struct WordCount {
    seen: ValueState<u64>,
    emit: Emit,
}

#[derive(Clone, Copy, Debug)]
enum Emit {
    Every,
    Latest,
}

impl Operator for WordCount {
    fn describe() -> Description {
        Description::new("word-count", env!("CARGO_PKG_VERSION"))
            .keyed_input("words")
            .output_of::<u64>("counts")
            .value_state::<u64>("seen")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self {
            seen: ctx.value_state("seen")?,
            emit: ctx.choice("emit", &[("every", Emit::Every), ("latest", Emit::Latest)])?,
        })
    }

    fn process(&mut self, _record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let n = self.seen.update(ctx, |n| n.unwrap_or(0) + 1)?;
        ctx.emit(&n)
    }

    fn process_batch(
        &mut self,
        batch: &InputBatch,
        ctx: &mut BatchContext,
    ) -> Result<Vec<BadRecord>> {
        match self.emit {
            Emit::Every => ctx.for_each(batch, |record, ctx| self.process(record, ctx)),
            Emit::Latest => self.count_then_emit(batch, ctx),
        }
    }
}

impl WordCount {
    /// The count of a word takes the event time of its last record in the batch.
    fn count_then_emit(
        &self,
        batch: &InputBatch,
        ctx: &mut BatchContext,
    ) -> Result<Vec<BadRecord>> {
        let mut last = vec![0; batch.slots() as usize];
        let mut counts = ctx.value_column(&self.seen);
        for record in batch.records() {
            let Some(slot) = record.slot() else { continue };
            let n = counts.get(slot)?.unwrap_or(0) + 1;
            counts.set(slot, &n)?;
            last[slot as usize] = record.index();
        }
        for record in last {
            let ctx = ctx.at(batch, record);
            if let Some(n) = self.seen.get(ctx)? {
                ctx.emit(&n)?;
            }
        }
        Ok(Vec::new())
    }
}

tidemill_sdk::export!(WordCount);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidemill_sdk::testing::Harness;

    use super::*;

    const WORDS: [(&str, &str); 5] = [("a", ""), ("b", ""), ("a", ""), ("c", ""), ("a", "")];

    fn counts(harness: &Harness<WordCount>) -> Vec<(String, u64)> {
        harness.outputs_as("counts").unwrap()
    }

    fn owned(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
        counts.iter().map(|&(word, n)| (word.to_owned(), n)).collect()
    }

    #[test]
    fn every_record_gives_the_count_so_far() {
        let mut harness = Harness::new().batch_size(2).open().unwrap();
        harness.send("words", &WORDS).unwrap();
        assert_eq!(counts(&harness), owned(&[("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3)]));
    }

    #[test]
    fn latest_gives_each_word_of_a_batch_once() {
        let mut harness = Harness::new().config("emit", "latest").batch_size(3).open().unwrap();
        harness.send("words", &WORDS).unwrap();
        assert_eq!(counts(&harness), owned(&[("a", 2), ("b", 1), ("c", 1), ("a", 3)]));
    }

    #[test]
    fn the_last_counts_do_not_depend_on_batches_or_mode() {
        let words: Vec<_> = (0..1000).map(|n: u32| (format!("w{}", n * n % 37), "")).collect();
        let run = |emit, seed| {
            let harness = Harness::new().config("emit", emit).batches_up_to(50, seed);
            let mut harness = harness.open().unwrap();
            harness.send("words", &words).unwrap();
            counts(&harness).into_iter().collect::<BTreeMap<_, _>>()
        };
        let expected = run("every", 1);
        assert_eq!(expected.values().sum::<u64>(), 1000);
        assert_eq!(run("every", 2), expected);
        assert_eq!(run("latest", 3), expected);
    }

    #[test]
    fn another_mode_is_refused_with_the_choices() {
        let refused = Harness::<WordCount>::new().config("emit", "some").open().unwrap_err();
        assert!(refused.is_fatal());
        assert_eq!(refused.message(), "config value `emit` = `some` is none of `every`, `latest`");
    }
}
