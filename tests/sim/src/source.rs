//! A source whose partitions can be read again from any position.

use std::sync::Arc;

use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::column::BytesColumn;
use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, Position, SourcePoll, SourceReader,
};
use tidemill_core::ids::Now;
use tidemill_core::input_log::inner_detail;

use crate::gate::Gate;
use crate::model::{partition_records, record_key, record_number, record_value};
use crate::plan::{Input, Plan};
use crate::receiver::partitions;

/// One lane's partitions of a source.
pub struct SimSource {
    node: usize,
    keys: usize,
    partitions: usize,
    mine: Vec<Partition>,
    turn: usize,
    is_stopped: bool,
    gate: Gate,
}

struct Partition {
    index: usize,
    next: u64,
    end: u64,
}

/// The partitions of a source of a new job.
pub fn first_positions(plan: &Plan, node: usize) -> Vec<PartitionPosition> {
    let ids = partitions(plan, node).into_iter().enumerate();
    let first = |(index, partition)| match plan.inputs[node] {
        Input::Again => position(index, 0, plan_end(plan, index)),
        Input::Clients | Input::Stdin => {
            PartitionPosition { partition, position: Position::default() }
        }
        Input::Relayed => {
            let inner = position(index, 0, plan_end(plan, index)).position;
            let (offset, detail, ended) = (0, inner_detail(&inner), inner.ended);
            PartitionPosition { partition, position: Position { offset, detail, ended } }
        }
    };
    ids.map(first).collect()
}

/// Records of a partition.
pub fn plan_end(plan: &Plan, partition: usize) -> u64 {
    partition_records(partition, plan.partitions, plan.records)
}

/// A position of a partition that can be read again.
pub fn position(partition: usize, offset: u64, end: u64) -> PartitionPosition {
    let position = Position { offset, detail: vec![partition as u8], ended: offset == end };
    PartitionPosition { partition: partition.to_string(), position }
}

impl SimSource {
    /// The partitions that belong to `lane`, from where they were recorded.
    pub fn new(
        plan: &Plan,
        node: usize,
        recorded: &[PartitionPosition],
        lane: usize,
        lanes: usize,
        gate: Gate,
    ) -> Self {
        let mine = recorded.iter().enumerate().filter(|(index, _)| index % lanes == lane);
        let mine = mine.map(|(index, recorded)| {
            let (next, end) = (recorded.position.offset, plan_end(plan, index));
            Partition { index, next, end }
        });
        let (keys, partitions) = (plan.keys, plan.partitions);
        Self { node, keys, partitions, mine: mine.collect(), turn: 0, is_stopped: false, gate }
    }
}

impl SourceReader for SimSource {
    fn poll(&mut self, target: BatchTarget, _: Now) -> Result<SourcePoll, ConnectorError> {
        if self.is_stopped {
            return Ok(SourcePoll::Pending);
        }
        self.gate.pass();
        let count = self.mine.len();
        let left = |at: &usize| self.mine[*at].next < self.mine[*at].end;
        let Some(at) = (0..count).map(|offset| (self.turn + offset) % count).find(left) else {
            return Ok(SourcePoll::Ended);
        };
        self.turn = at + 1;
        let (partitions, partition) = (self.partitions, &mut self.mine[at]);
        let mut batch = Batch::default();
        let mut keys = BytesColumn::default();
        while partition.next < partition.end && batch.len() < target.records {
            let number = record_number(partition.index, partition.next, partitions);
            batch.values.push(record_value(self.node, number).as_bytes());
            keys.push(record_key(number, self.keys).as_bytes());
            partition.next += 1;
        }
        let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
        batch.keys = RecordKeys::Of { dictionary, key_of: Vec::new() };
        Ok(SourcePoll::Batch(batch))
    }

    fn is_ready(&mut self) -> bool {
        !self.is_stopped && self.gate.is_open()
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        self.mine.iter().map(|p| position(p.index, p.next, p.end)).collect()
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.mine.iter().map(|p| p.end.saturating_sub(p.next)).sum())
    }
}
