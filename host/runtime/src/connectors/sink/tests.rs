//! What the tests of all sinks share, and what holds for all of them.

use std::sync::mpsc;

use tidemill_core::connector::{Prepared, SinkWriter};
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::transaction::CommitOutcome;

use super::*;
use crate::connectors::settings::{FieldType, Fields};

pub(super) const NEW: SinkStart = SinkStart::New { fresh: false };

/// The sink `out` of a new job.
pub(super) fn open(settings: &SinkSettings) -> Sink {
    Sink::open("job", "out", settings, NEW, Incarnation(1), CheckpointId(1)).unwrap()
}

/// The next answer to a barrier.
pub(super) fn answer(writer: &mut dyn SinkWriter, wakes: &mpsc::Receiver<()>) -> Prepared {
    loop {
        if let Some(prepared) = writer.prepared().unwrap() {
            return prepared;
        }
        wakes.recv().unwrap();
    }
}

#[test]
fn a_summary_goes_on_after_a_restart_in_the_same_process() {
    let settings = SinkSettings::Discard(DiscardSink { fields: None });
    let before = SinkSummary {
        records: 7,
        files: vec!["/out/part-1".into()],
        file_count: 1,
        ..SinkSummary::default()
    };
    let mut sink = open(&settings);
    sink.take_over_files(before);
    let summary = sink.summary();
    assert_eq!((summary.records, summary.file_count), (0, 1));
    assert_eq!(summary.files, [PathBuf::from("/out/part-1")]);
}

#[test]
fn a_summary_names_the_first_files_and_counts_all() {
    let root = tempfile::tempdir().unwrap();
    let fields = Fields { key: None, value: FieldType::Text, select: vec![] };
    let mut sink = open(&SinkSettings::File(FileSink {
        directory: root.path().to_owned(),
        format: RecordFormat { style: Style::Raw, fields },
        compression: Compression::None,
    }));
    let names = |range: std::ops::Range<u32>| range.map(|n| format!("part-{n}")).collect();
    let (published, found) = (names(0..900), names(900..1200));
    sink.committed(&CommitOutcome { published, found, taken: names(1200..1300) });
    let summary = sink.summary();
    assert_eq!((summary.files.len(), summary.file_count), (1000, 1200));
    assert_eq!(summary.files[999], root.path().join("part-999"));
}
