//! The input log of one incarnation: its queue, group commit, replay, and trimming.
//!
//! What is decided is the product's; when each of its threads goes on is the world's. Order of a start, and of
//! an end, as in the product: log recovered -> segment begun -> intakes connected -> input received -> replay;
//! lanes gone -> what was received is logged -> sealed.

mod found;
mod shell;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidemill_core::batch::Batch;
use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::connector::{PartitionPosition, SourceReader, Wake};
use tidemill_core::input_log::{
    BegunLog, ClientTable, Known, LoggedBatch, LoggedPart, LoggedReader, LoggedSource, Replaying,
    Retained, begin, checkpoints_kept, next_replayed, recover_log, wal_start,
};
use tidemill_core::wal::{Append, GroupCommit, LoggedPartition, WalReader};

use self::found::check_found;
use self::shell::Shell;
use crate::env::Env;
use crate::keeper::Places;
use crate::mail::Mailbox;
use crate::plan::{Input, Plan};
use crate::receiver::{EndedReader, Process, Receiver, Shared, SimSupply, lock};
use crate::trouble::{Trouble, Violation, blame, violation};

/// The log's directory in the job's.
const DIRECTORY: &str = "wal";
/// Batches that wait for the log before who appends waits.
const QUEUED_MAX: usize = 5;

/// What comes back with a batch.
struct Tag {
    source: usize,
    part: usize,
    run: u64,
    order: u64,
    numbers: Vec<usize>,
}

/// The input log of one incarnation.
pub struct SimLog {
    sources: Vec<Source>,
    commit: GroupCommit<Tag>,
    queue: VecDeque<Append<Tag>>,
    trim_below: Option<u64>,
    /// What is still to be replayed, and what found no room.
    replay: Option<WalReader>,
    found: Option<(usize, LoggedBatch)>,
    retained: Retained,
    process: Process,
    lanes: usize,
    /// When a checkpoint was last asked for because the log is full.
    asked_ms: u64,
}

/// A logged source.
struct Source {
    name: String,
    input: Input,
    positions: Vec<PartitionPosition>,
    partitions: Vec<LoggedPartition>,
    receiver: Shared,
    run: u64,
}

impl Source {
    fn described(&self) -> LoggedSource<'_> {
        let (name, positions) = (self.name.as_str(), &*self.positions);
        LoggedSource { name, is_numbered: self.input == Input::Clients, positions }
    }
}

/// The records of a batch of a source, by their numbers.
fn numbers(batch: &Batch) -> Option<Vec<usize>> {
    let number = |value: &[u8]| str::from_utf8(value).ok()?.split_once(':')?.1.parse().ok();
    batch.values.iter().map(number).collect()
}

impl SimLog {
    /// Begins the log of the incarnation that `manifest` is the basis of, if any source is logged.
    ///
    /// # Errors
    /// The machine goes off, or the log is not what it was.
    pub fn open(
        env: &mut Env,
        process: &Process,
        manifest: &Manifest,
        lanes: usize,
    ) -> Result<Option<Self>, Trouble> {
        if process.receivers.is_empty() {
            return Ok(None);
        }
        let Env { places, plan, truth, rng, .. } = env;
        let mut sources = sources(plan, process, manifest);
        let described: Vec<LoggedSource<'_>> = sources.iter().map(Source::described).collect();
        let off = |error: &dyn std::fmt::Display| blame(&places.disk, "the log goes on", error);
        let retained = retained(places, manifest)?;
        let recovered = recover_log(&places.job, DIRECTORY, manifest, &retained, &described);
        let recovered = recovered.map_err(|error| off(&error))?;
        let found = recovered.clone();
        let salt = u128::from(rng.next_u64()).to_le_bytes();
        let (disk, settled_lsn) = (Arc::new(places.job.clone()), &process.settled_lsn);
        let begun = begin(disk, recovered, manifest, &described, salt, plan.sizes, settled_lsn);
        let begun = begun.map_err(|error| off(&error))?;
        check_found(truth, plan, places, &sources, &begun, &found)?;
        let ends = begun.find_ends(&described).map_err(|error| off(&error))?;
        let replay = Some(begun.replay());
        let BegunLog { writer, partitions, from_lsn, .. } = begun;
        for ((source, partitions), ends) in sources.iter_mut().zip(partitions).zip(ends) {
            let mut receiver = lock(&source.receiver);
            source.run = receiver.intake.connect(partitions.len(), lanes, from_lsn);
            source.partitions = partitions;
            let has_ended = source.positions.iter().all(|at| at.position.ended);
            if !receiver.is_receiving() && !has_ended {
                receive(&mut receiver, ends);
            }
        }
        let (receivers, settled_lsn) = (process.receivers.clone(), process.settled_lsn.clone());
        Ok(Some(Self {
            sources,
            commit: GroupCommit::new(writer),
            queue: VecDeque::new(),
            trim_below: None,
            replay,
            found: None,
            retained,
            process: Process { receivers, settled_lsn },
            lanes,
            asked_ms: 0,
        }))
    }

    /// The reader of a lane, for a source that is logged.
    pub fn reader(
        &self,
        node: usize,
        lane: usize,
        waker: Arc<dyn Wake>,
    ) -> Option<Box<dyn SourceReader>> {
        let source = self.sources.iter().find(|source| lock(&source.receiver).node == node)?;
        let own = || source.positions.iter().skip(lane).step_by(self.lanes);
        if own().all(|at| at.position.ended) {
            return Some(Box::new(EndedReader::new(own().cloned().collect())));
        }
        let is_numbered = source.input == Input::Clients;
        let parts = own().filter_map(|at| LoggedPart::at(at, is_numbered)).collect();
        let supply = SimSupply(source.receiver.clone());
        Some(Box::new(LoggedReader::new(supply, lane, self.lanes, parts, waker)))
    }

    /// Takes a group, makes it durable, and trims; answers whether there was anything to do.
    ///
    /// # Errors
    /// The machine goes off, or a promise is broken.
    pub fn write(&mut self, env: &mut Env, mailbox: &Mailbox) -> Result<bool, Trouble> {
        let is_full = self.commit.full().is_some();
        let count = if is_full { 0 } else { env.rng.below(self.queue.len() + 1) };
        let is_silent = self.queue.is_empty() && !self.commit.is_promised();
        let has_work = count > 0 || self.trim_below.is_some() || (!is_full && is_silent);
        if has_work {
            self.turn(count, false, env, mailbox)?;
        }
        Ok(has_work || (!is_full && !self.queue.is_empty()))
    }

    fn turn(
        &mut self,
        count: usize,
        is_ending: bool,
        env: &mut Env,
        mailbox: &Mailbox,
    ) -> Result<(), Trouble> {
        let Self { sources, commit, queue, trim_below, .. } = self;
        let mut events = Shell::new(sources, env, mailbox);
        let appends: Vec<_> = queue.drain(..count).collect();
        let was_full = commit.full().is_some();
        let turned = commit.turn(trim_below.take(), appends.into_iter(), is_ending, &mut events);
        events.env.events.filled += u64::from(!was_full && commit.full().is_some());
        events.end(turned)
    }

    /// Brings the next batch of a source to the log, or forms one; answers whether there was anything to do.
    pub fn form(&mut self, env: &mut Env) -> bool {
        let first = env.rng.below(self.sources.len());
        let count = self.sources.len();
        (0..count).any(|offset| self.form_of((first + offset) % count, env))
    }

    fn form_of(&mut self, at: usize, env: &mut Env) -> bool {
        let source = &self.sources[at];
        let mut receiver = lock(&source.receiver);
        if self.queue.len() >= QUEUED_MAX {
            return false;
        }
        if let Some((order, part, body)) = receiver.intake.next_append() {
            let numbers = numbers(&body.batch).unwrap_or_default();
            let tag = Tag { source: at, part, run: source.run, order, numbers };
            let partition = source.partitions[part];
            self.queue.push_back(Append { partition, body: body.encode(), tag });
            return true;
        }
        let is_done = env.outside.get(&receiver.node).is_none_or(|outside| outside.is_done());
        receiver.form(&env.plan, is_done, &mut env.rng)
    }

    /// Replays the next batch; answers whether there was one, and room for it.
    ///
    /// # Errors
    /// The machine goes off, or the log cannot be read.
    pub fn replay(&mut self, env: &mut Env) -> Result<bool, Trouble> {
        let Some(reader) = &mut self.replay else { return Ok(false) };
        if self.found.is_none() {
            let part_of = |name: &str, id: &str| {
                let source = self.sources.iter().position(|source| source.name == name)?;
                let parts = &self.sources[source].positions;
                Some((source, parts.iter().position(|at| at.partition == id)?))
            };
            let found = next_replayed(reader, part_of);
            self.found = found.map_err(|error| blame(&env.places.disk, "replay", error))?;
        }
        let Some((at, batch)) = self.found.take() else {
            self.replay = None;
            for source in &self.sources {
                lock(&source.receiver).intake.end_replay(source.run, Ok(()));
            }
            return Ok(true);
        };
        let source = &self.sources[at];
        let replayed = lock(&source.receiver).intake.replay(source.run, batch);
        env.events.replayed += u64::from(matches!(replayed, Replaying::Taken));
        match replayed {
            Replaying::Taken => Ok(true),
            Replaying::NoRoom(batch) => {
                self.found = Some((at, batch));
                Ok(false)
            }
            Replaying::Over => Err(violation("replay", "its run is over").into()),
        }
    }

    /// Somebody outside does the next thing; answers whether there was one.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn outside(&mut self, env: &mut Env, is_kind: bool) -> Result<bool, Violation> {
        let now_ms = env.now().wall_ms;
        let (count, first) = (self.sources.len(), env.rng.below(self.sources.len()));
        for offset in 0..count {
            let mut receiver = lock(&self.sources[(first + offset) % count].receiver);
            let Env { outside, truth, rng, .. } = env;
            let Some(outside) = outside.get_mut(&receiver.node) else { continue };
            if outside.work(&mut receiver, truth, rng, now_ms, is_kind)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The smallest place that a checkpoint needs.
    pub fn wal_start(&self, manifest: &Manifest) -> Option<u64> {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
        wal_start(manifest, &names, &self.process.settled_lsn, |source, part, seq| {
            lock(&self.sources[source].receiver).intake.place_of(part, seq)
        })
    }

    /// A checkpoint is complete and committed: what is not needed will be trimmed. Answers how many are kept.
    pub fn completed(&mut self, manifest: &Manifest, retained: usize) -> usize {
        let kept = checkpoints_kept(retained, self.commit.progress().usage);
        for source in &self.sources {
            let found = manifest.sources.iter().find(|found| found.name == source.name);
            let parts = found.into_iter().flat_map(|found| &found.partitions).enumerate();
            let mut receiver = lock(&source.receiver);
            parts.for_each(|(part, at)| receiver.intake.covered(part, at.position.offset));
        }
        let below = self.retained.completed(manifest.checkpoint, manifest.wal_start, kept);
        self.trim_below = self.trim_below.max(below);
        kept
    }

    /// Whether a checkpoint is to be asked for, because the log is full; at most one in so many milliseconds.
    pub fn asks_for_room(&mut self, now_ms: u64, every_ms: u64) -> bool {
        let asks = self.is_full() && now_ms >= self.asked_ms + every_ms;
        if asks {
            self.asked_ms = now_ms;
        }
        asks
    }

    /// Whether the log takes nothing until it is trimmed.
    pub fn is_full(&self) -> bool {
        self.commit.full().is_some()
    }

    /// The lanes are gone: ends the log in order. Answers whether everything found room that was received before
    /// a stop.
    ///
    /// # Errors
    /// The machine goes off, or a promise is broken.
    pub fn close(mut self, env: &mut Env, mailbox: &Mailbox) -> Result<bool, Trouble> {
        while !self.is_full() && !self.is_drained() {
            if !self.form(env) {
                self.turn(self.queue.len(), false, env, mailbox)?;
            }
        }
        while !self.is_full() && !self.queue.is_empty() {
            let count = 1 + env.rng.below(self.queue.len());
            self.turn(count, true, env, mailbox)?;
        }
        let was_full = self.is_full();
        let mut events = Shell::new(&self.sources, env, mailbox);
        let sealed = self.commit.seal(&mut events);
        events.end(sealed)?;
        drop(self.commit.give_back());
        for source in &self.sources {
            lock(&source.receiver).intake.disconnect();
        }
        Ok(!was_full)
    }

    /// Those who were asked to come to an end have.
    fn is_drained(&self) -> bool {
        let is_drained = |receiver: &Receiver| {
            let goes_on = receiver.is_receiving() && !receiver.intake.has_ended();
            !(receiver.intake.is_stopping() && goes_on)
        };
        self.sources.iter().all(|source| is_drained(&lock(&source.receiver)))
    }
}

fn sources(plan: &Plan, process: &Process, manifest: &Manifest) -> Vec<Source> {
    let source = |receiver: &Shared| {
        let node = lock(receiver).node;
        let name = plan.name(node).to_owned();
        let recorded = manifest.sources.iter().find(|recorded| recorded.name == name);
        let positions = recorded.map(|it| it.partitions.clone()).unwrap_or_default();
        let (input, receiver) = (plan.inputs[node], receiver.clone());
        Source { name, input, positions, partitions: Vec::new(), receiver, run: 0 }
    };
    process.receivers.iter().map(source).collect()
}

/// Where the checkpoints that are kept replay from.
fn retained(places: &Places, manifest: &Manifest) -> Result<Retained, Trouble> {
    let failed = |error: &dyn std::fmt::Display| blame(&places.disk, "checkpoints are kept", error);
    let mut starts = BTreeMap::new();
    for stored in places.checkpoints.manifests().map_err(|error| failed(&error))? {
        if stored.checkpoint < manifest.checkpoint {
            let older = places.checkpoints.load(&stored).map_err(|error| failed(&error))?;
            starts.insert(older.checkpoint, older.wal_start);
        }
    }
    starts.insert(manifest.checkpoint, manifest.wal_start);
    Ok(Retained::new(starts))
}

/// Begins to receive, where the log ends.
fn receive(receiver: &mut Receiver, ends: Vec<LoggedPart>) {
    let (mut table, mut relayed) = (ClientTable::default(), Vec::new());
    for end in ends {
        match end.known {
            Known::Clients(known) => table = known,
            Known::Inner(position) => relayed.push(position.offset),
            Known::Nothing => {}
        }
    }
    receiver.begin(&table, relayed);
}
