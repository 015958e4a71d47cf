//! What lies, or lay, durably in the log: the batches of each logged source, in order.
//!
//! Owns what the log has promised: a batch that was called durable, or that a start has found, is there for good.
//! Lines of a client that numbers them come in their order, each once; those of standard input at most once.

use std::collections::BTreeMap;

use crate::model::record_value;
use crate::plan::{Input, Plan};
use crate::trouble::{Violation, violation};

/// The batches of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Batches {
    /// Numbers of the records of each batch.
    batches: Vec<Vec<usize>>,
    /// How many lines of each client there are; of standard input one more than the last.
    lines: Vec<u64>,
}

/// The batches of all logged sources, by node and partition.
#[derive(Debug, Default)]
pub struct Truth(BTreeMap<(usize, usize), Batches>);

impl Truth {
    /// A batch has been called durable.
    ///
    /// # Errors
    /// It does not continue what there is.
    pub fn settled(
        &mut self,
        plan: &Plan,
        (node, part): (usize, usize),
        seq: u64,
        numbers: &[usize],
    ) -> Result<(), Violation> {
        let source = self.0.entry((node, part)).or_default();
        if source.batches.len() as u64 != seq {
            let message = format!("batch {seq} of node {node} after {}", source.batches.len());
            return Err(violation("logged batches have no gaps", message));
        }
        let senders = match plan.inputs[node] {
            Input::Clients => plan.clients,
            Input::Relayed => plan.partitions,
            Input::Again | Input::Stdin => 1,
        };
        source.lines.resize(senders, 0);
        for number in numbers {
            let line = &mut source.lines[number % senders];
            let (this, before) = ((number / senders) as u64, *line);
            let is_next = match plan.inputs[node] {
                Input::Relayed => this == before && number % senders == part,
                Input::Clients => this == before,
                Input::Again | Input::Stdin => this >= before,
            };
            if !is_next {
                let message = format!("{} after {before} lines", record_value(node, *number));
                return Err(violation("lines are logged in order, each once", message));
            }
            *line = this + 1;
        }
        source.batches.push(numbers.to_vec());
        Ok(())
    }

    /// A start has found a batch in the log. It may be one that nobody had heard of yet.
    ///
    /// # Errors
    /// It is another one than was called durable.
    pub fn found(
        &mut self,
        plan: &Plan,
        (node, part): (usize, usize),
        seq: u64,
        numbers: &[usize],
    ) -> Result<(), Violation> {
        match self.0.get(&(node, part)).and_then(|source| source.batches.get(seq as usize)) {
            Some(known) if known == numbers => Ok(()),
            Some(known) => {
                let message = format!("batch {seq} of node {node} is {numbers:?}, not {known:?}");
                Err(violation("a durable batch stays as it was", message))
            }
            None => self.settled(plan, (node, part), seq, numbers),
        }
    }

    /// Batches of a partition.
    pub fn batches(&self, node: usize, part: usize) -> u64 {
        self.0.get(&(node, part)).map_or(0, |source| source.batches.len() as u64)
    }

    /// Numbers of the records of a partition before a batch.
    ///
    /// # Errors
    /// There are not so many batches.
    pub fn numbers(&self, node: usize, part: usize, before: u64) -> Result<Vec<usize>, Violation> {
        let batches = self.0.get(&(node, part)).map(|source| &*source.batches).unwrap_or_default();
        let before = batches.get(..before as usize).ok_or_else(|| {
            let message = format!("{before} of {} batches of node {node}", batches.len());
            violation("only durable batches are processed", message)
        })?;
        Ok(before.concat())
    }

    /// Numbers of all records of a source that are, or were, in the log.
    pub fn all(&self, node: usize) -> Vec<usize> {
        let parts = self.0.range((node, 0)..(node + 1, 0));
        parts.flat_map(|(_, source)| source.batches.concat()).collect()
    }

    /// Lines of a client.
    pub fn lines(&self, node: usize, client: usize) -> u64 {
        let source = self.0.get(&(node, 0));
        source.and_then(|source| source.lines.get(client)).copied().unwrap_or(0)
    }
}
