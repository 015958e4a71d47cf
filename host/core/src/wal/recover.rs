//! What a log found on the disk is worth.
//!
//! Owns the decision between a log that is whole, one whose tail was torn by a crash, and one that is damaged.
//! Changes nothing: the cut becomes real when the next incarnation copies what is left. At the first record
//! that fails its checks:
//!
//! | situation | decision |
//! |---|---|
//! | the segment is not the newest | damaged |
//! | the file ends where zeros must lie | damaged: cut short |
//! | the manifest knows that it was durable | damaged |
//! | a later record promises that it was durable | damaged |
//! | nothing but zeros follow | the log ends here |
//! | anything else | torn tail: cut |
//!
//! Invariants: what was durable is kept or the log is refused; nothing is read beyond the first record that
//! fails, but to prove damage; recovering again gives the same.

use std::collections::BTreeMap;

use super::error::WalError;
use super::reader::LogView;
use super::record::{Kind, Tail, read_input, u64_at};
use super::segment::{
    SegmentHeader, in_directory, is_temporary_name, parse_segment_name, segment_name,
};
use super::seqs::Seqs;
use super::walk::{Found, Stop, Walk};
use crate::disk::Disk;
use crate::ids::Incarnation;

/// What is known from elsewhere, that is from the manifests, about the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDurable {
    /// The smallest LSN that any retained checkpoint replays from. Records from here on are needed, and those
    /// before were durable. `None` when there is no checkpoint: everything is needed.
    pub wal_start: Option<u64>,
    /// Sequence number of the next batch not yet processed, as in the newest checkpoint. A partition that
    /// has no record goes on from here.
    pub positions: Seqs,
}

impl KnownDurable {
    /// First LSN that is needed.
    fn first_needed(&self) -> u64 {
        self.wal_start.unwrap_or(1).max(1)
    }
}

/// What was cut off as never having been durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: String,
    /// Where the log ends.
    pub offset: u64,
    /// The first LSN that is not there.
    pub lsn: u64,
    /// Bytes that had been written behind.
    pub bytes: u64,
}

/// What is left of a log.
#[derive(Clone, Debug)]
pub struct Recovered {
    pub(super) directory: String,
    pub(super) first_needed: u64,
    /// Sealed segments before the newest, oldest first.
    pub(super) older: Vec<Closed>,
    /// The segment that the next incarnation replaces, and its last record.
    pub(super) newest: Option<(SegmentHeader, Tail)>,
    /// Segments that were replaced, and files in the making. With their directory.
    pub(super) leftovers: Vec<String>,
    /// Sequence number of the next batch of every partition.
    pub next_seqs: Seqs,
    /// Highest LSN; 0 when there was never a record.
    pub last_lsn: u64,
    /// Highest incarnation that has left a trace.
    pub incarnation: Incarnation,
    /// What was cut.
    pub cut: Option<Cut>,
    /// Names in the directory that are not ours, and were left alone.
    pub foreign: Vec<String>,
}

/// A sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) header: SegmentHeader,
    /// Its seal.
    pub(super) tail: Tail,
    /// Last input in it or before it; 0 for none.
    pub(super) last_input_lsn: u64,
    pub(super) bytes: u64,
}

/// Finds out what is left of the log in `directory`.
///
/// # Errors
/// The log is damaged, of a later format, or cannot be read: see [`WalError`].
pub fn recover(
    disk: &dyn Disk,
    directory: &str,
    known: &KnownDurable,
) -> Result<Recovered, WalError> {
    let mut recovered = Recovered {
        directory: directory.to_owned(),
        first_needed: known.first_needed(),
        older: Vec::new(),
        newest: None,
        leftovers: Vec::new(),
        next_seqs: Seqs::default(),
        last_lsn: 0,
        incarnation: Incarnation(0),
        cut: None,
        foreign: Vec::new(),
    };
    let mut segments = BTreeMap::new();
    for name in disk.list(directory).map_err(|error| WalError::disk(directory, error))? {
        if let Some(segment) = parse_segment_name(&name) {
            let walk = Walk::open(disk, directory, segment)?;
            recovered.incarnation = recovered.incarnation.max(walk.header.incarnation);
            segments.insert(segment, (walk.header, walk.window.length()));
        } else if is_temporary_name(&name) {
            recovered.leftovers.push(in_directory(directory, &name));
        } else {
            recovered.foreign.push(name);
        }
    }
    if let Some(newest) = recovered.chain(segments)? {
        for index in 0..recovered.older.len() {
            recovered.read_older(disk, index)?;
        }
        let walk = Walk::open(disk, directory, newest.segment)?;
        recovered.read_newest(walk)?;
    }
    recovered.check_positions(known)?;
    Ok(recovered)
}

impl Recovered {
    /// What of the log is whole, to be read without beginning an incarnation.
    pub fn view(&self) -> LogView {
        let older = self.older.iter().map(|closed| (closed.header.segment, closed.tail.lsn));
        let newest = self.newest.map(|(header, tail)| (header.segment, tail.lsn));
        LogView { directory: self.directory.clone(), segments: older.chain(newest).collect() }
    }

    /// Finds the segments that make up the log; the others are leftovers. Answers the newest.
    fn chain(
        &mut self,
        mut segments: BTreeMap<u64, (SegmentHeader, u64)>,
    ) -> Result<Option<SegmentHeader>, WalError> {
        let Some((_, (newest, _))) = segments.pop_last() else {
            return match self.first_needed {
                1 => Ok(None),
                needed => Err(self.missing(needed, "there is no segment at all")),
            };
        };
        let mut oldest = newest;
        while let Some(previous) = oldest.previous {
            let Some((header, bytes)) = segments.remove(&previous.segment) else { break };
            let tail = Tail { lsn: previous.last_lsn, tag: previous.last_tag };
            let last_input_lsn = oldest.input_floor - 1;
            self.older.push(Closed { header, tail, last_input_lsn, bytes });
            oldest = header;
        }
        self.older.reverse();
        if oldest.input_floor > self.first_needed {
            let what =
                format!("the oldest segment, {}, begins later", segment_name(oldest.segment));
            return Err(self.missing(oldest.input_floor - 1, &what));
        }
        let names = segments.keys().map(|segment| segment_name(*segment));
        self.leftovers.extend(names.map(|name| in_directory(&self.directory, &name)));
        Ok(Some(newest))
    }

    /// Checks a sealed segment against what the one after it says.
    fn read_older(&mut self, disk: &dyn Disk, index: usize) -> Result<(), WalError> {
        let Closed { header, tail, last_input_lsn, .. } = self.older[index];
        // Not needed: it waits to be trimmed.
        if last_input_lsn < self.first_needed {
            return Ok(());
        }
        let mut walk = Walk::open(disk, &self.directory, header.segment)?;
        loop {
            match walk.next()? {
                Err(stop) => return Err(walk.corrupt(stop.describe())),
                Ok(found) if found.kind == Kind::Seal => break,
                Ok(found) => self.note(&mut walk, &found)?,
            }
        }
        match walk.tail == tail {
            true => Ok(()),
            false => Err(walk.corrupt("it is not the segment that the one after it goes on from")),
        }
    }

    /// Reads the newest segment up to its end.
    fn read_newest(&mut self, mut walk: Walk) -> Result<(), WalError> {
        loop {
            match walk.next()? {
                Ok(found) if found.kind == Kind::Seal => break,
                Ok(found) => self.note(&mut walk, &found)?,
                Err(stop) => {
                    self.cut = judge(&mut walk, stop)?;
                    break;
                }
            }
        }
        if walk.tail.lsn + 1 < self.first_needed {
            let needed = self.first_needed - 1;
            return Err(walk.corrupt(format!("the checkpoint knows of records up to LSN {needed}")));
        }
        self.last_lsn = walk.tail.lsn;
        self.newest = Some((walk.header, walk.tail));
        Ok(())
    }

    /// Takes what a record says about the log as a whole.
    fn note(&mut self, walk: &mut Walk, found: &Found) -> Result<(), WalError> {
        let payload = walk.payload(found)?;
        if found.kind == Kind::Incarnation && payload.len() >= 8 {
            self.incarnation = self.incarnation.max(Incarnation(u64_at(payload, 0)));
        }
        if found.kind != Kind::Input {
            return Ok(());
        }
        let Some(input) = read_input(payload) else {
            return Err(walk.corrupt("the record before this byte holds no input"));
        };
        let seq = input.seq;
        let expected = self.next_seqs.set(input.source, input.partition, seq.saturating_add(1));
        if expected.is_some_and(|expected| expected != seq) {
            return Err(walk.corrupt("the record before this byte does not continue its partition"));
        }
        Ok(())
    }

    /// Compares the log with the positions of the checkpoint.
    fn check_positions(&mut self, known: &KnownDurable) -> Result<(), WalError> {
        for (source, partition, position) in known.positions.iter() {
            match self.next_seqs.get(source, partition) {
                Some(next) if next < position => {
                    let what = format!(
                        "the log ends before batch {next} of {source}/{partition}, and the checkpoint \
                         has processed all before {position}"
                    );
                    return Err(WalError::Missing {
                        directory: self.directory.clone(),
                        from_lsn: self.last_lsn + 1,
                        upto_lsn: self.last_lsn + 1,
                        what,
                    });
                }
                Some(_) => {}
                None => drop(self.next_seqs.set(source, partition, position)),
            }
        }
        Ok(())
    }

    fn missing(&self, upto_lsn: u64, what: &str) -> WalError {
        WalError::Missing {
            directory: self.directory.clone(),
            from_lsn: self.first_needed,
            upto_lsn,
            what: what.to_owned(),
        }
    }
}

/// The decision at the first record that fails, but for what the manifest knows. See the table above.
fn judge(walk: &mut Walk, stop: Stop) -> Result<Option<Cut>, WalError> {
    if stop == Stop::CutShort {
        return Err(walk.corrupt(stop.describe()));
    }
    if let Some(offset) = walk.find_promise()? {
        let what = format!("{}, but was durable as byte {offset} says", stop.describe());
        return Err(walk.corrupt(what));
    }
    let bytes = walk.written_behind()?;
    let file = walk.window.name().to_owned();
    let lsn = walk.tail.lsn + 1;
    Ok((bytes > 0).then_some(Cut { file, offset: walk.offset, lsn, bytes }))
}
