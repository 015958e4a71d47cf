//! A lane's writer of files.
//!
//! Owns the block that is being filled. Where it goes, compression, rolling and durability are the
//! storage crate's. Invariant: a block holds whole lines.

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, SinkWriter};
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

    fn write(&mut self, batch: Batch) -> Result<(), ConnectorError> {
        self.lines.append(&batch, &mut self.block)?;
        if self.block.len() >= BLOCK_BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ConnectorError> {
        self.hand_over()?;
        Ok(self.output.end()?)
    }

    fn is_settled(&mut self) -> Result<bool, ConnectorError> {
        Ok(self.output.is_settled()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tidemill_core::batch::Batch;
    use tidemill_core::connector::ConnectorFault;

    use crate::connectors::settings::{
        Compression, FieldType, Fields, FileSink, FileSource, Format, RecordFormat, SinkSettings,
        SourceSettings, Style,
    };
    use crate::connectors::tests::{bell, drain};
    use crate::connectors::{Sink, Source};

    fn settings(
        directory: &Path,
        style: Style,
        value: FieldType,
        compression: Compression,
    ) -> SinkSettings {
        let fields = Fields { key: None, value, select: vec![] };
        let directory = directory.to_owned();
        SinkSettings::File(FileSink {
            directory,
            format: RecordFormat { style, fields },
            compression,
        })
    }

    fn batch(values: &[String]) -> Batch {
        let mut batch = Batch::default();
        values.iter().for_each(|value| batch.values.push(value.as_bytes()));
        batch
    }

    /// Runs a job that only writes, and answers what was written, by lane.
    fn write(sink: &mut Sink, lanes: usize) -> Vec<String> {
        let (waker, wakes) = bell();
        let mut all = Vec::new();
        for lane in 0..lanes {
            let mut writer = sink.writer(lane, waker.clone()).unwrap();
            for run in 0..20 {
                let values: Vec<_> = (0..1000).map(|n| format!("{lane} {run} {n}")).collect();
                while !writer.has_room() {
                    wakes.recv().unwrap();
                }
                writer.write(batch(&values)).unwrap();
                all.extend(values);
            }
            writer.end().unwrap();
            while !writer.is_settled().unwrap() {
                wakes.recv().unwrap();
            }
        }
        all
    }

    #[test]
    fn what_a_sink_wrote_a_source_reads_in_every_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let root = tempfile::tempdir().unwrap();
            let settings =
                settings(&root.path().join("new"), Style::Raw, FieldType::Bytes, compression);
            let mut sink = Sink::create("job", "out", &settings, false).unwrap();
            let expected = write(&mut sink, 2);
            assert!(sink.summary().files.is_empty());
            sink.commit().unwrap();
            let summary = sink.summary();
            assert_eq!((summary.records, summary.files.len()), (40_000, 2));
            assert_eq!(
                summary.bytes,
                expected.iter().map(|line| line.len() as u64 + 1).sum::<u64>()
            );
            let pattern = format!("{}/new/*", root.path().display());
            let source = FileSource {
                patterns: vec![pattern],
                format: Format::Lines,
                key: None,
                split_bytes: 1 << 16,
            };
            let source = Source::list("in", &SourceSettings::File(source)).unwrap();
            let mut found = Vec::new();
            for lane in 0..3 {
                let (waker, wakes) = bell();
                found.extend(drain(&mut *source.reader(lane, 3, waker).unwrap(), &wakes).unwrap());
            }
            let mut found: Vec<_> =
                found.into_iter().map(|(_, value)| String::from_utf8(value).unwrap()).collect();
            let mut expected = expected;
            found.sort();
            expected.sort();
            assert!(found == expected, "{compression:?}");
        }
    }

    #[test]
    fn a_job_that_fails_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(root.path(), Style::Text, FieldType::Text, Compression::Zstd);
        let mut sink = Sink::create("job", "out", &settings, false).unwrap();
        write(&mut sink, 2);
        let (waker, _wakes) = bell();
        let mut unfinished = sink.writer(2, waker).unwrap();
        unfinished.write(batch(&["half".to_owned()])).unwrap();
        sink.abandon();
        drop(unfinished);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_second_run_is_refused_until_it_is_to_be_fresh() {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(root.path(), Style::Ndjson, FieldType::Text, Compression::None);
        let mut sink = Sink::create("job", "out", &settings, false).unwrap();
        write(&mut sink, 1);
        sink.commit().unwrap();
        drop(sink);
        let error = Sink::create("job", "out", &settings, false).err().unwrap();
        assert_eq!(error.fault, ConnectorFault::CannotCreate);
        assert!(error.message.contains("part-job-out-0-0.ndjson"), "{error}");
        let mut fresh = Sink::create("job", "out", &settings, true).unwrap();
        fresh.commit().unwrap();
        drop(fresh);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_record_of_another_type_fails_its_batch_and_is_shown() {
        let root = tempfile::tempdir().unwrap();
        let settings = settings(root.path(), Style::Text, FieldType::Integer, Compression::None);
        let mut sink = Sink::create("job", "out", &settings, false).unwrap();
        let (waker, _wakes) = bell();
        let mut writer = sink.writer(0, waker).unwrap();
        let error =
            writer.write(batch(&["1".to_owned(), "no\u{7} number".to_owned()])).unwrap_err();
        assert_eq!(error.fault, ConnectorFault::BadData);
        assert!(error.message.contains("value \"no\\x07 number\""), "{error}");
        sink.abandon();
    }
}
