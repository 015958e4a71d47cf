//! Reads records from files.
//!
//! Owns how files are cut into partitions and how a lane goes through its own. Opening and reading
//! is done by I/O threads of the storage crate; here bytes become records. Invariants: partition
//! ids depend on the files and the split size only; the next partition is read ahead while the
//! present one lasts; an error names the file and the byte.

use std::sync::Arc;

use tidemill_core::connector::{
    BatchTarget, ConnectorError, ConnectorFault, PartitionPosition, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;
use tidemill_storage::files::{self, Chunk, FoundFile, Packing, ReadAhead, ReadPlan};

use crate::connectors::formats::{BadRecord, Parser};
use crate::connectors::records::Records;
use crate::connectors::settings::{FileSource, Format};

/// Partitions of one source at most; more are a mistake in the pattern or the split size.
const PARTITIONS_MAX: u64 = 1_000_000;

/// The records of a file that begin in a byte range.
#[derive(Clone, Debug)]
pub(super) struct FilePartition {
    id: String,
    file: Arc<FoundFile>,
    start: u64,
    end: u64,
}

/// Lists the files of a source, cut into partitions, and gives each its id.
pub(super) fn partitions(
    name: &str,
    settings: &FileSource,
) -> Result<Vec<FilePartition>, ConnectorError> {
    let mut partitions = Vec::new();
    for file in files::list(&settings.patterns)? {
        let file = Arc::new(file);
        let is_whole = file.packing != Packing::None || settings.format == Format::Csv;
        let step = if is_whole { u64::MAX } else { settings.split_bytes.max(1) };
        let count = file.bytes.div_ceil(step).max(1);
        if partitions.len() as u64 + count > PARTITIONS_MAX {
            return Err(ConnectorError::new(
                ConnectorFault::MissingInput,
                format!(
                    "source `{name}`: more than {PARTITIONS_MAX} partitions; narrow the \
                     patterns or raise the split size of {step} bytes"
                ),
            ));
        }
        for part in 0..count {
            let start = part * step;
            let end = file.bytes.min(start.saturating_add(step));
            let id = match is_whole {
                true => file.name().to_owned(),
                false => format!("{}:{start}-{end}", file.name()),
            };
            partitions.push(FilePartition { id, file: Arc::clone(&file), start, end });
        }
    }
    Ok(partitions)
}

impl FilePartition {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn bad(&self, bad: BadRecord) -> ConnectorError {
        let unpacked =
            if self.file.packing == Packing::None { "" } else { " of the decompressed data" };
        ConnectorError::new(
            ConnectorFault::BadData,
            format!("`{}`, byte {}{unpacked}: {}", self.file.name(), bad.offset, bad.what),
        )
    }
}

/// A partition that is being read.
struct Open {
    ahead: ReadAhead,
    parser: Parser,
    chunk: Vec<u8>,
    at: usize,
    is_read: bool,
}

enum Step {
    More,
    Pending,
    Done,
}

impl Open {
    fn start(
        partition: &FilePartition,
        settings: &FileSource,
        waker: &Arc<dyn Wake>,
    ) -> Result<Self, ConnectorError> {
        let FilePartition { file, start, end, .. } = partition;
        let key = settings.key.as_deref();
        let (parser, from) = match (settings.format, file.packing) {
            (Format::Lines | Format::Ndjson, Packing::None) => {
                Parser::range(settings.format, key, *start, *end)
            }
            _ => (Parser::whole(settings.format, key), 0),
        };
        let plan = ReadPlan { file: FoundFile::clone(file), start: from, end: *end };
        let ahead = ReadAhead::start(plan, Arc::clone(waker))?;
        Ok(Self { ahead, parser, chunk: Vec::new(), at: 0, is_read: false })
    }

    /// Gets on with the partition until the batch is full or there is nothing to read.
    fn advance(
        &mut self,
        partition: &FilePartition,
        out: &mut Records,
    ) -> Result<Step, ConnectorError> {
        if self.at < self.chunk.len() {
            let parsed = self.parser.parse(&self.chunk[self.at..], out);
            let parsed = parsed.map_err(|bad| partition.bad(bad))?;
            self.at += parsed.consumed;
            return Ok(if parsed.is_done { Step::Done } else { Step::More });
        }
        if self.is_read {
            let finished = self.parser.finish(out).map_err(|bad| partition.bad(bad))?;
            return Ok(if finished { Step::Done } else { Step::More });
        }
        match self.ahead.take(std::mem::take(&mut self.chunk))? {
            Chunk::Bytes(chunk) => (self.chunk, self.at) = (chunk, 0),
            Chunk::Pending => return Ok(Step::Pending),
            Chunk::End => self.is_read = true,
        }
        Ok(Step::More)
    }

    fn is_ready(&self) -> bool {
        self.at < self.chunk.len() || self.is_read || self.ahead.is_ready()
    }
}

/// One lane's partitions of a file source, read one after the other.
pub(super) struct FileReader {
    settings: FileSource,
    partitions: Vec<FilePartition>,
    /// For each partition where the next record that was not handed out begins.
    positions: Vec<u64>,
    /// Index of the partition being read; those before it are done.
    current: usize,
    open: Option<Open>,
    /// The one after it, so that its beginning is there when it is wanted.
    next: Option<Open>,
    records: Records,
    waker: Arc<dyn Wake>,
}

impl FileReader {
    pub(super) fn new(
        settings: FileSource,
        partitions: Vec<FilePartition>,
        waker: Arc<dyn Wake>,
    ) -> Result<Self, ConnectorError> {
        let records = Records::new(settings.key.is_some(), false);
        let positions = partitions.iter().map(|partition| partition.start).collect();
        let (current, open, next) = (0, None, None);
        let mut reader =
            Self { settings, partitions, positions, current, open, next, records, waker };
        reader.open = reader.start(0)?;
        reader.next = reader.start(1)?;
        Ok(reader)
    }

    fn start(&self, index: usize) -> Result<Option<Open>, ConnectorError> {
        let partition = self.partitions.get(index);
        partition.map(|partition| Open::start(partition, &self.settings, &self.waker)).transpose()
    }

    /// Adds records until the batch is full or nothing more is there.
    fn fill(&mut self) -> Result<(), ConnectorError> {
        while !self.records.is_full()
            && let Some(open) = &mut self.open
        {
            let partition = &self.partitions[self.current];
            let step = open.advance(partition, &mut self.records)?;
            // Before the first line of the range is found, the parser stands one byte before it.
            self.positions[self.current] = open.parser.offset().max(partition.start);
            match step {
                Step::More => {}
                Step::Pending => break,
                Step::Done => {
                    self.current += 1;
                    self.open = self.next.take();
                    self.next = self.start(self.current + 1)?;
                }
            }
        }
        Ok(())
    }
}

impl SourceReader for FileReader {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        self.records.begin(target);
        self.fill()?;
        Ok(match self.records.take() {
            Some(batch) => SourcePoll::Batch(batch),
            None if self.open.is_some() => SourcePoll::Pending,
            None => SourcePoll::Ended,
        })
    }

    fn is_ready(&mut self) -> bool {
        self.open.as_ref().is_none_or(Open::is_ready)
    }

    fn stop(&mut self) {
        // What was read ahead can be read again.
        (self.open, self.next) = (None, None);
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        let each = |(partition, &position): (&FilePartition, &u64)| PartitionPosition {
            partition: partition.id.clone(),
            position,
            // How much a compressed file holds is not known before its end.
            remaining: (partition.file.packing == Packing::None)
                .then(|| partition.end.saturating_sub(position)),
        };
        self.partitions.iter().zip(&self.positions).map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;
    use tidemill_core::connector::Wake;
    use tidemill_core::limits::LINE_BYTES_MAX;

    use super::*;
    use crate::connectors::tests::{Flat, bell, drain, target};

    fn settings(directory: &Path, pattern: &str, format: Format, split_bytes: u64) -> FileSource {
        let pattern = format!("{}/{pattern}", directory.display());
        FileSource { patterns: vec![pattern], format, key: None, split_bytes }
    }

    fn reader(settings: &FileSource, waker: Arc<dyn Wake>) -> Result<FileReader, ConnectorError> {
        FileReader::new(settings.clone(), partitions("in", settings)?, waker)
    }

    fn read(settings: &FileSource) -> Result<Flat, ConnectorError> {
        let (waker, wakes) = bell();
        drain(&mut reader(settings, waker)?, &wakes)
    }

    fn values(flat: Flat) -> Vec<String> {
        flat.into_iter().map(|(_, value)| String::from_utf8(value).unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_split_size_gives_the_same_lines(
            lines in prop::collection::vec("[ab\r]{0,9}", 1..40),
            split in 1u64..90,
        ) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("a.txt"), lines.join("\n")).unwrap();
            let whole = read(&settings(directory.path(), "*", Format::Lines, u64::MAX)).unwrap();
            let cut = read(&settings(directory.path(), "*", Format::Lines, split)).unwrap();
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names_and_empty_ones_hold_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in
            [("b", "3\n4"), ("a", "1\n2\n"), ("c", ""), ("d", "5\r\n"), ("e.gz", "")]
        {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let settings = settings(directory.path(), "*", Format::Lines, 100);
        assert_eq!(values(read(&settings).unwrap()), ["1", "2", "3", "4", "5"]);
        let ids: Vec<_> = partitions("in", &settings)
            .unwrap()
            .iter()
            .map(|partition| partition.id().rsplit('/').next().unwrap().to_owned())
            .collect();
        assert_eq!(ids, ["a:0-4", "b:0-3", "c:0-0", "d:0-3", "e.gz"]);
    }

    #[test]
    fn a_record_that_does_not_fit_with_others_comes_in_a_batch_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let long = "x".repeat(LINE_BYTES_MAX - 100);
        for (name, format, content) in [
            ("lines", Format::Lines, format!("short\n{long}\n{long}\nshort\n{long}")),
            ("csv", Format::Csv, format!("a\nshort\n{long}\n{long}\nshort\n{long}")),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
            let records = read(&settings(directory.path(), name, format, u64::MAX)).unwrap();
            let is_long: Vec<_> = records.iter().map(|(_, value)| value.len() > 100).collect();
            assert_eq!(is_long, [false, true, true, false, true], "{name}");
        }
    }

    #[test]
    fn positions_move_from_the_start_to_the_end_of_each_partition() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "one\ntwo\nthree\n").unwrap();
        let settings = settings(directory.path(), "a", Format::Lines, 6);
        let (waker, wakes) = bell();
        let mut reader = reader(&settings, waker).unwrap();
        let at = |reader: &FileReader| -> Vec<_> {
            reader.positions().iter().map(|p| (p.position, p.remaining.unwrap())).collect()
        };
        assert_eq!(at(&reader), [(0, 6), (6, 6), (12, 2)]);
        let one = BatchTarget { records: 1, ..target() };
        while !matches!(reader.poll(one, Now::default()), Ok(SourcePoll::Batch(_))) {
            wakes.recv().unwrap();
        }
        assert_eq!(at(&reader), [(4, 2), (6, 6), (12, 2)]);
        drain(&mut reader, &wakes).unwrap();
        assert_eq!(at(&reader), [(8, 0), (14, 0), (14, 0)]);
    }

    #[test]
    fn a_stop_ends_at_once_and_keeps_the_position() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "one\ntwo\n").unwrap();
        let settings = settings(directory.path(), "a", Format::Lines, 100);
        let (waker, wakes) = bell();
        let mut reader = reader(&settings, waker).unwrap();
        let one = BatchTarget { records: 1, ..target() };
        while !matches!(reader.poll(one, Now::default()), Ok(SourcePoll::Batch(_))) {
            wakes.recv().unwrap();
        }
        reader.stop();
        assert!(reader.is_ready());
        assert!(matches!(reader.poll(one, Now::default()), Ok(SourcePoll::Ended)));
        assert_eq!(reader.positions()[0].position, 4);
    }

    #[test]
    fn a_bad_record_is_named_by_file_and_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ndjson");
        fs::write(&path, "{}\n{}\n{\"a\":}\n{}\n").unwrap();
        for split in [1, 7, 1000] {
            let error = read(&settings(directory.path(), "*", Format::Ndjson, split)).unwrap_err();
            assert_eq!(error.fault, ConnectorFault::BadData);
            let start = format!("`{}`, byte 6: not a valid line of NDJSON: ", path.display());
            assert!(error.message.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn csv_is_one_partition_whatever_the_split_size() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.csv"), "k,v\n1,\"a\nb\"\n2,c\n").unwrap();
        let mut settings = settings(directory.path(), "*", Format::Csv, 3);
        settings.key = Some("k".to_owned());
        assert_eq!(partitions("in", &settings).unwrap().len(), 1);
        let records = read(&settings).unwrap();
        assert_eq!(records[0], (Some(b"1".to_vec()), b"{\"k\":\"1\",\"v\":\"a\\nb\"}".to_vec()));
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn a_pattern_without_files_and_too_many_partitions_are_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let none =
            partitions("in", &settings(directory.path(), "*.txt", Format::Lines, 9)).unwrap_err();
        assert_eq!(none.fault, ConnectorFault::MissingInput);
        assert!(none.message.contains("*.txt"), "{none}");
        let file = fs::File::create(directory.path().join("a.txt")).unwrap();
        file.set_len(PARTITIONS_MAX + 1).unwrap();
        let many =
            partitions("in", &settings(directory.path(), "*.txt", Format::Lines, 1)).unwrap_err();
        assert!(many.message.contains("more than 1000000 partitions"), "{many}");
    }
}
