//! What must hold of a checkpoint, whatever has happened before: its state and its published output are
//! exactly what the graph makes of the records before its positions.
//!
//! With aligned barriers nothing is in flight at a cut, so this holds of every checkpoint and not only of the
//! last. Without alignment nothing may be missing, and more may be there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_core::checkpoint::manifest::{Manifest, OperatorSnapshot};
use tidemill_core::lane::BarrierMode;
use tidemill_core::snapshot::verify;
use tidemill_core::wal::{KnownDurable, Seqs, WalReader, recover};

use crate::dump::{self, KeyState};
use crate::history::History;
use crate::incarnation::{is_sink, sink_names};
use crate::keeper::Places;
use crate::model::{Bag, Copies, Cut, record_number};
use crate::operator::read_count;
use crate::plan::{Input, Kind, Plan};
use crate::receiver::partitions;
use crate::sink::lines_of;
use crate::trouble::{Violation, violation};
use crate::truth::Truth;

/// What is compared with what.
pub struct Oracle<'a> {
    /// The job.
    pub plan: &'a Plan,
    /// Its arithmetic.
    pub copies: &'a Copies,
    /// Its places, as an observer sees them.
    pub places: &'a Places,
    /// Its past.
    pub history: &'a History,
    /// What its log holds or held.
    pub truth: &'a Truth,
}

impl Oracle<'_> {
    fn is_exact(&self) -> bool {
        self.plan.mode == BarrierMode::Aligned
    }

    /// The cut that a manifest claims.
    ///
    /// # Errors
    /// It claims what is not in the log.
    pub fn cut(&self, manifest: &Manifest) -> Result<Cut, Violation> {
        let mut cut = Cut { closes: self.history.closed(self.plan, manifest), ..Cut::default() };
        for node in self.plan.nodes_of(Kind::Source) {
            let source = manifest.sources.iter().find(|s| s.name == self.plan.name(node));
            let offsets = source.into_iter().flat_map(|source| &source.partitions);
            let offsets = offsets.map(|p| p.position.offset).enumerate();
            let numbers = match self.plan.inputs[node] {
                Input::Again => {
                    let partitions = self.plan.partitions;
                    let of = |(partition, read): (usize, u64)| {
                        (0..read).map(move |at| record_number(partition, at, partitions))
                    };
                    offsets.flat_map(of).collect()
                }
                Input::Clients | Input::Stdin | Input::Relayed => {
                    let of = |(part, before)| self.truth.numbers(node, part, before);
                    offsets.map(of).collect::<Result<Vec<_>, _>>()?.concat()
                }
            };
            cut.read.insert(node, numbers);
        }
        Ok(cut)
    }

    /// The state in a manifest's snapshot files is that of its cut.
    ///
    /// # Errors
    /// It is not.
    pub fn check_state(&self, manifest: &Manifest) -> Result<(), Violation> {
        let cut = self.cut(manifest)?;
        for snapshot in &manifest.operators {
            let node = (0..self.plan.kinds.len()).find(|n| self.plan.name(*n) == snapshot.name);
            let node = node.ok_or_else(|| violation("manifest", "it names an unknown operator"))?;
            match self.plan.kinds[node] {
                Kind::Count | Kind::Toggle => {
                    let expected = cut.keyed(self.plan, self.copies, node);
                    let held = dump::state(self.places, manifest, snapshot)?;
                    self.compare_state(node, manifest, &expected, &held)?;
                }
                Kind::Memory => self.check_memory(node, manifest, snapshot, &cut)?,
                Kind::Source | Kind::Pass | Kind::Sink | Kind::CountsSink => {}
            }
        }
        Ok(())
    }

    fn compare_state(
        &self,
        node: usize,
        manifest: &Manifest,
        expected: &BTreeMap<String, Bag>,
        held: &BTreeMap<String, KeyState>,
    ) -> Result<(), Violation> {
        let keys: BTreeSet<&String> = expected.keys().chain(held.keys()).collect();
        let (no_records, no_state) = (Bag::new(), KeyState::default());
        for key in keys {
            let records = expected.get(key).unwrap_or(&no_records);
            let state = held.get(key).unwrap_or(&no_state);
            let compared = match self.plan.kinds[node] {
                Kind::Count => compare_count(records, state, self.is_exact()),
                _ if self.is_exact() => compare_toggle(records, state),
                _ => Ok(()),
            };
            compared.map_err(|what| {
                let checkpoint = manifest.checkpoint;
                let name = self.plan.name(node);
                let message = format!(
                    "key {key} of {name} in checkpoint {checkpoint}: {what}: {state:?} for {records:?}"
                );
                violation("state is that of the cut", message)
            })?;
        }
        Ok(())
    }

    fn check_memory(
        &self,
        node: usize,
        manifest: &Manifest,
        snapshot: &OperatorSnapshot,
        cut: &Cut,
    ) -> Result<(), Violation> {
        let saved = snapshot.tasks.iter().filter_map(|task| task.saved.as_deref());
        let counted: u64 = saved.map(read_count).sum();
        let taken: u64 = cut.taken(self.plan, self.copies, node).values().sum();
        if counted == taken || !self.is_exact() && counted > taken {
            return Ok(());
        }
        let message = format!(
            "{} counted {counted} of {taken} in its memory in checkpoint {}",
            self.plan.name(node),
            manifest.checkpoint
        );
        Err(violation("saved memory is that of the cut", message))
    }

    /// What is published, after a manifest's commits, is the output of its cut.
    ///
    /// # Errors
    /// It is not, or what was published before has changed.
    pub fn check_published(&self, manifest: &Manifest) -> Result<(), Violation> {
        let cut = self.cut(manifest)?;
        for node in (0..self.plan.kinds.len()).filter(|node| is_sink(self.plan, *node)) {
            let lines = self.published_lines(node)?;
            let expected = match self.plan.kinds[node] {
                Kind::CountsSink if !self.is_exact() => continue,
                Kind::CountsSink => cut.counts(self.plan, self.copies),
                _ => cut.taken(self.plan, self.copies, node),
            };
            let (name, checkpoint) = (self.plan.name(node), manifest.checkpoint);
            if let Some(what) = difference(&expected, &lines, self.is_exact()) {
                let oracle = match self.plan.kinds[node] {
                    Kind::CountsSink => "running counts are 1..n, each once",
                    _ => "published records are those of the cut",
                };
                let message = format!("sink {name} after checkpoint {checkpoint}: {what}");
                return Err(violation(oracle, message));
            }
            let sink = manifest.sinks.iter().find(|sink| sink.name == name);
            let states = sink.into_iter().flat_map(|sink| &sink.tasks);
            let counted: u64 = states.map(|task| lines_of(&task.state)).sum();
            let written: u64 = lines.values().sum();
            if counted != written && manifest.checkpoint.0 > 0 {
                let message = format!("sink {name}: {counted} counted, {written} published");
                return Err(violation("state of writers is that of the cut", message));
            }
        }
        Ok(())
    }

    /// The lines of a sink's published files.
    fn published_lines(&self, node: usize) -> Result<Bag, Violation> {
        let (names, sink) = (sink_names(self.plan, node), self.plan.name(node));
        let files = self.places.sink(sink).files();
        for (name, digest) in self.history.published(sink) {
            let found = files.get(name).map(|content| *blake3::hash(content).as_bytes());
            if found != Some(digest) {
                let what = if found.is_some() { "was changed" } else { "is gone" };
                let message = format!("{name} of sink {sink} {what}");
                return Err(violation("what was published stays", message));
            }
        }
        let mut lines = Bag::new();
        for (_, content) in files.iter().filter(|(name, _)| names.is_published(name)) {
            for line in String::from_utf8_lossy(content).lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        }
        Ok(lines)
    }

    /// Every checkpoint that is kept can be restored, and there are as many as are to be kept.
    ///
    /// # Errors
    /// A manifest or a file of one is missing or damaged.
    pub fn check_retained(&self) -> Result<(), Violation> {
        let failed = |error: &dyn std::fmt::Display| violation("kept checkpoints are whole", error);
        let stored = self.places.checkpoints.manifests().map_err(|error| failed(&error))?;
        let disk = self.places.checkpoints.disk();
        let count = stored.len();
        for (at, stored) in stored.into_iter().enumerate() {
            // What more than those that are to be kept need may be trimmed before they are dropped.
            let newest = at + self.plan.retained >= count;
            let manifest = self.places.checkpoints.load(&stored).map_err(|error| failed(&error))?;
            self.check_log(&manifest, newest)?;
            for file in manifest.files() {
                let open = disk.open(&file.name).map_err(|error| failed(&error))?;
                verify(&*open, &file.name, file.bytes, &file.digest)
                    .map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    /// What a checkpoint that is kept would replay is in the log.
    fn check_log(&self, manifest: &Manifest, is_kept: bool) -> Result<(), Violation> {
        let is_kept = is_kept && manifest.checkpoint >= self.history.log_floor();
        if !is_kept || self.plan.logged().next().is_none() {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| violation("the log goes back", error);
        let mut seqs = Seqs::default();
        for node in self.plan.logged() {
            let name = self.plan.name(node);
            let source = manifest.sources.iter().find(|source| source.name == name);
            for at in source.into_iter().flat_map(|source| &source.partitions) {
                seqs.set(name, &at.partition, at.position.offset);
            }
        }
        let known = KnownDurable { wal_start: manifest.wal_start, positions: seqs.clone() };
        let found = recover(&self.places.job, "wal", &known).map_err(|error| failed(&error))?;
        let (job, from_lsn) = (Arc::new(self.places.job.clone()), manifest.wal_start.unwrap_or(0));
        let mut reader = WalReader::new(job, found.view(), from_lsn, seqs.clone());
        while let Some(logged) = reader.next_batch().map_err(|error| failed(&error))? {
            let (source, id, seq) =
                (logged.source.to_owned(), logged.partition.to_owned(), logged.seq);
            if seqs.set(&source, &id, seq + 1) != Some(seq) {
                return Err(failed(&format!("batch {seq} of {source}, out of order")));
            }
        }
        for node in self.plan.logged() {
            let name = self.plan.name(node);
            for (part, id) in partitions(self.plan, node).iter().enumerate() {
                let next = seqs.get(name, id).unwrap_or(0);
                let batches = self.truth.batches(node, part);
                if next < batches {
                    return Err(failed(&format!("{next} of {batches} batches of {name}/{id}")));
                }
            }
        }
        Ok(())
    }

    /// The job has ended: everything was read, every task has closed, and nothing unfinished is left.
    ///
    /// # Errors
    /// It is not so.
    pub fn check_end(&self, manifest: &Manifest) -> Result<(), Violation> {
        let cut = self.cut(manifest)?;
        for (node, numbers) in &cut.read {
            let left = match self.plan.inputs[*node] {
                // What was sent is in the log, as others check.
                Input::Clients | Input::Stdin => self.truth.all(*node).len() - numbers.len(),
                Input::Again | Input::Relayed => self.plan.records.abs_diff(numbers.len()),
            };
            if left > 0 || !manifest.finished {
                let message = format!("{left} records of node {node} are left: {cut:?}");
                return Err(violation("the end is the end", message));
            }
        }
        for snapshot in &manifest.operators {
            if snapshot.tasks.iter().any(|task| !task.closed) {
                return Err(violation("all tasks close", format!("{} did not", snapshot.name)));
            }
        }
        for node in (0..self.plan.kinds.len()).filter(|node| is_sink(self.plan, *node)) {
            let names = sink_names(self.plan, node);
            let files = self.places.sink(self.plan.name(node)).files();
            if let Some(name) = files.keys().find(|name| names.is_in_progress(name)) {
                return Err(violation("no file in progress is left", name));
            }
        }
        Ok(())
    }
}

/// What of `expected` is not in `found`, or (if `exact`) the other way round.
fn difference(expected: &Bag, found: &Bag, exact: bool) -> Option<String> {
    let all: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    all.into_iter().find_map(|item| {
        let times = |bag: &Bag| bag.get(item).copied().unwrap_or(0);
        let (expected, found) = (times(expected), times(found));
        let is_fine = found == expected || !exact && found > expected;
        (!is_fine).then(|| format!("{item} is there {found} times, not {expected}"))
    })
}

fn compare_count(records: &Bag, state: &KeyState, exact: bool) -> Result<(), String> {
    let count: u64 = records.values().sum();
    let counted = state.values.get("count").map_or(0, |value| read_count(value));
    if counted != count && (exact || counted < count) {
        return Err(format!("{counted} counted, not {count}"));
    }
    let mut listed = Bag::new();
    for item in state.lists.get("records").into_iter().flatten() {
        *listed.entry(String::from_utf8_lossy(item).into_owned()).or_default() += 1;
    }
    if let Some(what) = difference(records, &listed, exact) {
        return Err(format!("in the list {what}"));
    }
    if !exact {
        return Ok(());
    }
    let tally: Bag = state.map("tally").map(|(key, value)| (key, read_count(value))).collect();
    let odd: BTreeSet<String> = state.map("odd").map(|(key, _)| key).collect();
    let expected_odd = records.iter().filter(|(_, times)| *times % 2 == 1).map(|(r, _)| r.clone());
    match (&tally == records, odd == expected_odd.collect()) {
        (false, _) => Err("another tally".to_owned()),
        (_, false) => Err("other odd ones".to_owned()),
        (true, true) => Ok(()),
    }
}

fn compare_toggle(records: &Bag, state: &KeyState) -> Result<(), String> {
    let count: u64 = records.values().sum();
    if count.is_multiple_of(2) {
        let is_bare = *state == KeyState::default();
        return if is_bare { Ok(()) } else { Err("something is left".to_owned()) };
    }
    let Some(held) = state.values.get("held") else {
        return Err("nothing is held".to_owned());
    };
    let is_record = records.contains_key(&*String::from_utf8_lossy(held));
    let is_listed = state.lists.get("records") == Some(&vec![held.clone()]);
    let is_mapped = state.maps.get("map") == Some(&BTreeMap::from([(held.clone(), held.clone())]));
    match is_record && is_listed && is_mapped {
        true => Ok(()),
        false => Err("value, list and map disagree".to_owned()),
    }
}
