//! Sequence numbers by source and partition.
//!
//! Knows nothing of logs. Looks up without allocating, for it is asked once per record in a replay.

use std::collections::BTreeMap;

/// A sequence number for each of some partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seqs(BTreeMap<String, BTreeMap<String, u64>>);

impl Seqs {
    /// Sets the number of a partition; answers the one that it had.
    pub fn set(&mut self, source: &str, partition: &str, seq: u64) -> Option<u64> {
        let known = self.0.get_mut(source).and_then(|partitions| partitions.get_mut(partition));
        match known {
            Some(known) => Some(std::mem::replace(known, seq)),
            None => {
                let partitions = self.0.entry(source.to_owned()).or_default();
                partitions.insert(partition.to_owned(), seq)
            }
        }
    }

    /// The number of a partition.
    pub fn get(&self, source: &str, partition: &str) -> Option<u64> {
        self.0.get(source)?.get(partition).copied()
    }

    /// Source, partition and number of all, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0.iter().flat_map(|(source, partitions)| {
            partitions.iter().map(|(partition, seq)| (&**source, &**partition, *seq))
        })
    }
}
