//! The reader of a lane that has nothing to read.
//!
//! Knows nothing of sources. Invariant: a stop is not an end, so after one it does not end.

use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, SourcePoll, SourceReader,
};
use tidemill_core::ids::Now;

/// The reader of a lane that has nothing left to read.
pub(super) struct EndedReader {
    positions: Vec<PartitionPosition>,
    is_stopped: bool,
}

impl EndedReader {
    /// Its partitions, if it has any, have all ended.
    pub(super) fn new(positions: Vec<PartitionPosition>) -> Self {
        Self { positions, is_stopped: false }
    }
}

impl SourceReader for EndedReader {
    fn poll(&mut self, _target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        Ok(if self.is_stopped { SourcePoll::Pending } else { SourcePoll::Ended })
    }

    fn is_ready(&mut self) -> bool {
        !self.is_stopped
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        self.positions.clone()
    }

    fn remaining(&self) -> Option<u64> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::tests::target;

    #[test]
    fn a_lane_without_partitions_ends_at_once_unless_it_is_stopped() {
        let mut reader = EndedReader::new(Vec::new());
        assert!(reader.is_ready() && reader.positions().is_empty());
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Ended)));
        reader.stop();
        assert!(!reader.is_ready());
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Pending)));
    }
}
