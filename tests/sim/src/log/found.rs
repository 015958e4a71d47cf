//! What a start finds in the log, against what was called durable.

use std::sync::Arc;

use tidemill_core::input_log::{BegunLog, Body};
use tidemill_core::wal::{Recovered, Seqs, WalReader};

use super::{Source, numbers};
use crate::keeper::Places;
use crate::plan::Plan;
use crate::receiver::{lock, partitions};
use crate::trouble::{Violation, violation};
use crate::truth::Truth;

/// What was called durable is in the log, and what else is there is known from here on.
pub(super) fn check_found(
    truth: &mut Truth,
    plan: &Plan,
    places: &Places,
    sources: &[Source],
    begun: &BegunLog,
    recovered: &Recovered,
) -> Result<(), Violation> {
    let disk = Arc::new(places.job.observer());
    let view = begun.writer.view();
    let mut reader = WalReader::new(disk, view, begun.from_lsn, Seqs::default());
    let failed = |what: &dyn std::fmt::Display| violation("the log can be read", what);
    while let Some(logged) = reader.next_batch().map_err(|error| failed(&error))? {
        let source = sources.iter().find(|source| source.name == logged.source);
        let node = source.map(|source| lock(&source.receiver).node);
        let body = Body::decode(logged.body).and_then(|body| numbers(&body.batch));
        let (Some(node), Some(numbers)) = (node, body) else {
            return Err(failed(&format!("what is LSN {}?", logged.lsn)));
        };
        let part = partitions(plan, node).iter().position(|id| id == logged.partition);
        let part = part.ok_or_else(|| failed(&format!("what is LSN {}?", logged.lsn)))?;
        truth.found(plan, (node, part), logged.seq, &numbers)?;
    }
    for source in sources {
        let node = lock(&source.receiver).node;
        for (part, id) in partitions(plan, node).iter().enumerate() {
            let next = recovered.next_seqs.get(&source.name, id).unwrap_or(0);
            let batches = truth.batches(node, part);
            if next != batches {
                let message = format!("{next} of {batches} batches of {}/{id}", source.name);
                return Err(violation("a durable batch is never lost", message));
            }
        }
    }
    Ok(())
}
