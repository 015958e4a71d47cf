//! Appends to the log.
//!
//! Owns group commit, and what ends a writer. Knows nothing of threads or time. Order of a sync: zeros ahead,
//! as far as they are missing -> synced -> all waiting records -> synced.
//!
//! Invariants: a lack of space changes nothing that a later try would build on; any other failure of the
//! disk ends this writer for good, because nobody knows then what is durable; a seal promises only what was
//! durable before it was written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::begin::Begun;
use super::error::WalError;
use super::open_segment::OpenSegment;
use super::reader::LogView;
use super::record::{
    INPUT_PREFIX_BYTES, Kind, RECORD_HEADER_BYTES, Tail, framed_bytes, input_prefix, push_record,
};
use super::recover::{Closed, Recovered};
use super::seqs::Seqs;
use super::sizes::Sizes;
use crate::disk::Disk;

/// A partition that this writer logs; an index into its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedPartition(usize);

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place in the log.
    pub lsn: u64,
    /// Its number in its partition.
    pub seq: u64,
}

/// What this incarnation has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalCounters {
    /// Input records made durable.
    pub records: u64,
    /// Bytes of all records made durable, without zeros.
    pub bytes: u64,
    /// Groups made durable.
    pub syncs: u64,
}

pub(super) struct Partition {
    source: String,
    partition: String,
    next_seq: u64,
}

/// The one who writes a log.
pub struct WalWriter {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: String,
    pub(super) salt: [u8; 16],
    pub(super) sizes: Sizes,
    pub(super) older: VecDeque<Closed>,
    pub(super) open: OpenSegment,
    /// The open segment ends in a seal: the next record needs another.
    pub(super) is_sealed: bool,
    /// The open segment has, or will have, input.
    pub(super) holds_input: bool,
    /// Last input of the log, that which waits included; 0 for none.
    pub(super) last_input_lsn: u64,
    /// Last record appended, and last one durable.
    pub(super) tail: Tail,
    pub(super) durable: Tail,
    /// LSN of the last record that is not input: it promises all before it.
    pub(super) promised_lsn: u64,
    pub(super) waiting: Vec<u8>,
    pub(super) waiting_inputs: u64,
    pub(super) partitions: Vec<Partition>,
    /// Where each is, by source and name: there may be ten thousand.
    indices: BTreeMap<String, BTreeMap<String, usize>>,
    pub(super) next_seqs: Seqs,
    pub(super) is_closed: bool,
    pub(super) failure: Option<WalError>,
    pub(super) counters: WalCounters,
}

impl WalWriter {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        recovered: Recovered,
        salt: [u8; 16],
        sizes: Sizes,
        begun: Begun,
    ) -> Self {
        Self {
            disk,
            directory: recovered.directory,
            salt,
            sizes,
            older: recovered.older.into(),
            open: begun.open,
            is_sealed: false,
            holds_input: begun.holds_input,
            last_input_lsn: begun.last_input_lsn,
            tail: begun.tail,
            durable: begun.tail,
            promised_lsn: begun.tail.lsn,
            waiting: Vec::new(),
            waiting_inputs: 0,
            partitions: Vec::new(),
            indices: BTreeMap::new(),
            next_seqs: recovered.next_seqs,
            is_closed: false,
            failure: None,
            counters: WalCounters::default(),
        }
    }

    /// Names a partition that will be logged. Its numbers go on where the log, or the checkpoint, ends.
    ///
    /// # Errors
    /// [`WalError::Name`].
    pub fn partition(
        &mut self,
        source: &str,
        partition: &str,
    ) -> Result<LoggedPartition, WalError> {
        let known = self.indices.get(source).and_then(|of_source| of_source.get(partition));
        if let Some(index) = known {
            return Ok(LoggedPartition(*index));
        }
        for name in [source, partition] {
            if u16::try_from(name.len()).is_err() {
                return Err(WalError::Name { name: name.to_owned() });
            }
        }
        self.partitions.push(Partition {
            source: source.to_owned(),
            partition: partition.to_owned(),
            next_seq: self.next_seqs.get(source, partition).unwrap_or(0),
        });
        let index = self.partitions.len() - 1;
        let of_source = self.indices.entry(source.to_owned()).or_default();
        of_source.insert(partition.to_owned(), index);
        Ok(LoggedPartition(index))
    }

    /// Appends a batch. It is durable after the next [`WalWriter::sync`]; when a segment is full, what waits
    /// becomes durable here.
    ///
    /// # Errors
    /// [`WalError::Full`]: nothing was appended, try again after a trim; [`WalError::TooLarge`]; a failure of
    /// the disk, after which every call answers it.
    pub fn append(
        &mut self,
        partition: LoggedPartition,
        body: &[u8],
    ) -> Result<Appended, WalError> {
        self.check()?;
        let Partition { source, partition: id, next_seq: seq } = &self.partitions[partition.0];
        let (source_bytes, id_bytes) = (source.len(), id.len());
        let bytes = INPUT_PREFIX_BYTES + (source_bytes + id_bytes + body.len()) as u64;
        let max_bytes = self.sizes.payload_bytes_max();
        if bytes > max_bytes {
            return Err(WalError::TooLarge { bytes, max_bytes });
        }
        // Both lengths were checked when the partition was named.
        let prefix = input_prefix(source_bytes as u16, id_bytes as u16, *seq);
        let framed = framed_bytes(bytes);
        let room = self.make_room(framed);
        self.settle(room)?;
        let Partition { source, partition: id, next_seq } = &mut self.partitions[partition.0];
        let payload = [&prefix, source.as_bytes(), id.as_bytes(), body];
        self.tail = push_record(
            &mut self.waiting,
            &self.open.key,
            self.tail,
            self.durable.lsn,
            Kind::Input,
            &payload,
        );
        let appended = Appended { lsn: self.tail.lsn, seq: *next_seq };
        *next_seq += 1;
        self.waiting_inputs += 1;
        self.holds_input = true;
        self.last_input_lsn = self.tail.lsn;
        Ok(appended)
    }

    /// Makes all appended records durable; answers the last LSN.
    ///
    /// # Errors
    /// [`WalError::Full`]: nothing is lost, try again; a failure of the disk.
    pub fn sync(&mut self) -> Result<u64, WalError> {
        self.check_failure()?;
        let synced = self.sync_waiting();
        self.settle(synced)?;
        Ok(self.durable.lsn)
    }

    /// Nothing came for a while: writes a record that promises all before it, unless there is one.
    ///
    /// # Errors
    /// As [`WalWriter::sync`].
    pub fn idle(&mut self) -> Result<(), WalError> {
        self.check()?;
        let written = self.sync_waiting().and_then(|()| match self.is_promised() {
            true => Ok(()),
            false => self.write_alone(Kind::Idle),
        });
        self.settle(written)
    }

    /// Whether [`WalWriter::idle`] has nothing to write.
    pub fn is_promised(&self) -> bool {
        self.is_sealed || self.promised_lsn == self.tail.lsn
    }

    /// Ends the log in order; answers the last LSN that is durable. What waits and finds no space is given up:
    /// it was never promised to anybody.
    ///
    /// # Errors
    /// As [`WalWriter::sync`].
    pub fn seal(&mut self) -> Result<u64, WalError> {
        self.check_failure()?;
        let sealed = self.seal_now();
        self.settle(sealed)?;
        Ok(self.durable.lsn)
    }

    fn seal_now(&mut self) -> Result<(), WalError> {
        match self.sync_waiting() {
            Err(WalError::Full { .. }) => {
                self.waiting.clear();
                self.waiting_inputs = 0;
                self.tail = self.durable;
            }
            other => other?,
        }
        self.is_closed = true;
        self.seal_segment()
    }

    /// Last LSN that is durable.
    pub fn durable_lsn(&self) -> u64 {
        self.durable.lsn
    }

    /// Bytes of records that wait for a sync.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// What was written so far.
    pub fn counters(&self) -> WalCounters {
        self.counters
    }

    /// What is durable now, to be replayed.
    pub fn view(&self) -> LogView {
        let older = self.older.iter().map(|closed| (closed.header.segment, closed.tail.lsn));
        let open = (self.open.header.segment, self.durable.lsn);
        LogView { directory: self.directory.clone(), segments: older.chain([open]).collect() }
    }

    pub(super) fn check_failure(&self) -> Result<(), WalError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn check(&self) -> Result<(), WalError> {
        self.check_failure()?;
        if self.is_closed { Err(WalError::Closed) } else { Ok(()) }
    }

    /// Remembers a failure for good.
    pub(super) fn settle<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        if let Err(error) = &result
            && !error.leaves_the_log_usable()
        {
            self.failure = Some(error.clone());
        }
        result
    }

    /// Writes a record that promises all before it. Nothing waits, so all before it is durable. It may use
    /// the reserve.
    pub(super) fn write_alone(&mut self, kind: Kind) -> Result<(), WalError> {
        debug_assert!(self.waiting.is_empty(), "a promise must be true when it is written");
        let mut record = Vec::with_capacity(RECORD_HEADER_BYTES as usize);
        let tail = push_record(&mut record, &self.open.key, self.tail, self.durable.lsn, kind, &[]);
        let usage = self.usage();
        self.open.fill(self.sizes.filled_for(self.open.position + record.len() as u64), usage)?;
        self.open.commit(&record, self.open.filled, usage)?;
        self.counters.bytes += record.len() as u64;
        self.counters.syncs += 1;
        (self.tail, self.durable, self.promised_lsn) = (tail, tail, tail.lsn);
        Ok(())
    }

    pub(super) fn sync_waiting(&mut self) -> Result<(), WalError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let usage = self.usage();
        self.open.fill(self.sizes.filled_for_input(self.end()), usage)?;
        let ahead = self.fill_ahead();
        self.open.commit(&self.waiting, ahead, usage)?;
        self.counters.records += self.waiting_inputs;
        self.counters.bytes += self.waiting.len() as u64;
        self.counters.syncs += 1;
        self.durable = self.tail;
        self.waiting.clear();
        self.waiting_inputs = 0;
        Ok(())
    }
}
