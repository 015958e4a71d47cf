//! A lane's writer of files.
//!
//! Owns the block that is being filled. Where it goes, compression, rolling and durability are the
//! storage crate's. Invariants: a block holds whole lines, and never lines from both sides of a barrier.

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, Prepared, SinkWriter};
use tidemill_core::ids::CheckpointId;
use tidemill_storage::output::Output;

use crate::connectors::sink::lines::Lines;

/// Bytes from which on a block is handed to the I/O thread.
const BLOCK_BYTES: usize = 256 * 1024;

/// One lane's part of a file sink.
pub(super) struct FileWriter {
    lines: Lines,
    output: Output,
    block: Vec<u8>,
}

impl FileWriter {
    pub(super) fn new(lines: Lines, output: Output) -> Self {
        Self { lines, output, block: Vec::new() }
    }

    fn hand_over(&mut self) -> Result<(), ConnectorError> {
        self.block = self.output.write(std::mem::take(&mut self.block))?;
        Ok(())
    }
}

impl SinkWriter for FileWriter {
    fn has_room(&mut self) -> bool {
        self.output.has_room()
    }

    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError> {
        let before = self.block.len();
        self.lines.append(&batch, &mut self.block)?;
        let bytes = self.block.len() - before;
        if self.block.len() >= BLOCK_BYTES {
            self.hand_over()?;
        }
        Ok(bytes)
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), ConnectorError> {
        self.hand_over()?;
        Ok(self.output.prepare(checkpoint, self.lines.state()?)?)
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(self.output.prepared()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use tidemill_core::connector::{ConnectorFault, PreparedFile};
    use tidemill_core::ids::Incarnation;

    use super::*;
    use crate::connectors::settings::{
        Compression, FieldType, Fields, FileSink, FileSource, Format, RecordFormat, SinkSettings,
        SourceSettings, Style,
    };
    use crate::connectors::sink::SinkStart;
    use crate::connectors::sink::tests::{NEW, answer, open};
    use crate::connectors::tests::{bell, drain, nobody};
    use crate::connectors::{Listing, Sink, Source};

    fn settings(
        directory: &Path,
        style: Style,
        value: FieldType,
        compression: Compression,
    ) -> SinkSettings {
        let fields = Fields { key: None, value, select: vec![] };
        let directory = directory.to_owned();
        let format = RecordFormat { style, fields };
        SinkSettings::File(FileSink { directory, format, compression })
    }

    fn plain(directory: &Path) -> SinkSettings {
        settings(directory, Style::Text, FieldType::Text, Compression::None)
    }

    fn batch(values: &[String]) -> Batch {
        let mut batch = Batch::default();
        values.iter().for_each(|value| batch.values.push(value.as_bytes()));
        batch
    }

    fn listing(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }

    /// Writes up to two barriers on each lane; answers what was written and what was prepared.
    fn write(sink: &mut Sink, lanes: usize) -> (Vec<String>, Vec<PreparedFile>) {
        let (mut all, mut files) = (Vec::new(), Vec::new());
        for lane in 0..lanes {
            let (waker, wakes) = bell();
            let mut writer = sink.writer(lane, waker, &nobody(), &[]).unwrap();
            for run in 0..20 {
                let values: Vec<_> = (0..1000).map(|n| format!("{lane} {run} {n}")).collect();
                while !writer.has_room() {
                    wakes.recv().unwrap();
                }
                writer.write(batch(&values)).unwrap();
                all.extend(values);
                if run % 10 == 9 {
                    writer.prepare(CheckpointId(1 + run / 10)).unwrap();
                }
            }
            for checkpoint in 1..=2 {
                let prepared = answer(&mut *writer, &wakes);
                assert_eq!((prepared.checkpoint.0, prepared.files.len()), (checkpoint, 1));
                files.extend(prepared.files);
            }
        }
        (all, files)
    }

    #[test]
    fn what_a_sink_committed_a_source_reads_in_every_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let root = tempfile::tempdir().unwrap();
            let new = root.path().join("new");
            let mut sink = open(&settings(&new, Style::Raw, FieldType::Bytes, compression));
            let (mut expected, files) = write(&mut sink, 2);
            assert_eq!(sink.directory(), Some(&*new));
            assert!(listing(&new).iter().all(|name| name.starts_with(".tm-job-out-1-")));
            assert_eq!(Sink::commit_in(&new, &files).unwrap().published.len(), 4);
            let summary = sink.summary();
            assert_eq!(summary.records, 40_000);
            assert_eq!(
                summary.bytes,
                expected.iter().map(|line| line.len() as u64 + 1).sum::<u64>()
            );
            let source = FileSource {
                patterns: vec![format!("{}/*", new.display())],
                format: Format::Lines,
                key: None,
                split_bytes: 1 << 16,
            };
            let source =
                Source::list("in", &SourceSettings::File(source), &mut Listing::default()).unwrap();
            let mut found = Vec::new();
            for lane in 0..3 {
                let (waker, wakes) = bell();
                found.extend(
                    drain(&mut *source.reader(lane, 3, waker, nobody()).unwrap(), &wakes).unwrap(),
                );
            }
            let mut found: Vec<_> =
                found.into_iter().map(|(_, value)| String::from_utf8(value).unwrap()).collect();
            found.sort();
            expected.sort();
            assert!(found == expected, "{compression:?}");
        }
    }

    #[test]
    fn a_job_that_resumes_publishes_what_was_prepared_once_and_drops_what_came_after() {
        let root = tempfile::tempdir().unwrap();
        let settings = plain(root.path());
        let mut sink = open(&settings);
        let (waker, wakes) = bell();
        let mut writer = sink.writer(0, waker, &nobody(), &[]).unwrap();
        writer.write(batch(&["before".to_owned()])).unwrap();
        writer.prepare(CheckpointId(1)).unwrap();
        writer.write(batch(&["after".to_owned()])).unwrap();
        writer.prepare(CheckpointId(2)).unwrap();
        let first = answer(&mut *writer, &wakes);
        answer(&mut *writer, &wakes);
        assert!(sink.close(Duration::ZERO));
        drop((sink, writer));
        // Checkpoint 1 has a manifest and 2 has none.
        for _ in 0..2 {
            Sink::commit_in(root.path(), &first.files).unwrap();
        }
        let (incarnation, next) = (Incarnation(2), CheckpointId(2));
        let opened = Sink::open("job", "out", &settings, SinkStart::Resumed, incarnation, next);
        let mut sink = opened.unwrap();
        assert_eq!(sink.clean_up(&BTreeSet::new()).unwrap(), 1);
        let (waker, wakes) = bell();
        let mut writer = sink.writer(0, waker, &nobody(), &[first.state]).unwrap();
        writer.write(batch(&["after".to_owned()])).unwrap();
        writer.prepare(CheckpointId(2)).unwrap();
        let second = answer(&mut *writer, &wakes);
        assert_eq!(second.files[0].in_progress, ".tm-job-out-2-2-0-0");
        let published = Sink::commit_in(root.path(), &second.files).unwrap().published;
        assert_eq!(listing(root.path()), ["part-job-out-1-0-0.txt", "part-job-out-2-0-0.txt"]);
        let summary = sink.summary();
        assert_eq!((summary.records, summary.bytes, published.len()), (2, 13, 1));
        assert_eq!(fs::read(root.path().join(&published[0])).unwrap(), b"after\n");
    }

    #[test]
    fn a_sink_that_is_closed_leaves_only_what_can_be_cleaned_up() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = open(&plain(root.path()));
        write(&mut sink, 2);
        let (waker, _wakes) = bell();
        let mut unfinished = sink.writer(2, waker, &nobody(), &[]).unwrap();
        unfinished.write(batch(&["half".to_owned()])).unwrap();
        unfinished.prepare(CheckpointId(1)).unwrap();
        assert!(sink.close(Duration::ZERO));
        let left = listing(root.path());
        let keep: BTreeSet<_> = left.iter().take(1).cloned().collect();
        assert_eq!(sink.clean_up(&keep).unwrap(), left.len() - 1);
        drop(sink);
        assert_eq!(Sink::clean_up_in(root.path(), "job", "out", &BTreeSet::new()).unwrap(), 1);
        assert!(listing(root.path()).is_empty());
    }

    #[test]
    fn a_second_run_is_refused_until_it_is_to_be_fresh() {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(root.path(), Style::Ndjson, FieldType::Text, Compression::None);
        let mut sink = open(&settings);
        let (_, files) = write(&mut sink, 1);
        Sink::commit_in(root.path(), &files).unwrap();
        drop(sink);
        let start =
            |start| Sink::open("job", "out", &settings, start, Incarnation(1), CheckpointId(1));
        let error = start(NEW).err().unwrap();
        assert_eq!(error.fault, ConnectorFault::CannotCreate);
        assert!(error.message.contains("part-job-out-1-0-0.ndjson"), "{error}");
        drop(start(SinkStart::New { fresh: true }).unwrap());
        assert!(listing(root.path()).is_empty());
    }

    #[test]
    fn a_file_in_the_way_of_a_commit_is_named_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = open(&plain(root.path()));
        let (_, files) = write(&mut sink, 1);
        fs::write(root.path().join(&files[0].published), "mine").unwrap();
        let error = Sink::commit_in(root.path(), &files).unwrap_err();
        assert_eq!(error.fault, ConnectorFault::Io);
        let shown = root.path().display().to_string();
        for part in [&*shown, &*files[0].published, "move it away"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(fs::read(root.path().join(&files[0].published)).unwrap(), b"mine");
        assert!(root.path().join(&files[1].published).exists(), "the others are published");
    }

    #[test]
    fn a_record_of_another_type_fails_its_batch_and_is_shown() {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(root.path(), Style::Text, FieldType::Integer, Compression::None);
        let mut sink = open(&settings);
        let (waker, _wakes) = bell();
        let mut writer = sink.writer(0, waker, &nobody(), &[]).unwrap();
        let error =
            writer.write(batch(&["1".to_owned(), "no\u{7} number".to_owned()])).unwrap_err();
        assert_eq!(error.fault, ConnectorFault::BadData);
        assert!(error.message.contains("value \"no\\x07 number\""), "{error}");
    }
}
