//! Readers of files over real files: what they hand out, and how they go on.

mod positions;
mod refused;
mod resumed;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use proptest::prelude::*;
use tidemill_core::batch::RecordKeys;
use tidemill_core::connector::{
    BatchTarget, ConnectorError, ConnectorFault, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;
use tidemill_core::limits::LINE_BYTES_MAX;

use crate::connectors::file::partition::PARTITIONS_MAX;
use crate::connectors::file::{FilePartition, FileReader, Listing, list};
use crate::connectors::settings::{FileSource, Format};
use crate::connectors::tests::{Flat, bell, drain, nobody, target};

fn settings(directory: &Path, pattern: &str, format: Format, split_bytes: u64) -> FileSource {
    let pattern = format!("{}/{pattern}", directory.display());
    FileSource { patterns: vec![pattern], format, key: None, split_bytes }
}

fn list_all(settings: &FileSource) -> Result<Vec<FilePartition>, ConnectorError> {
    list("in", settings, &mut Listing::default())
}

fn reader(settings: &FileSource, waker: Arc<dyn Wake>) -> Result<FileReader, ConnectorError> {
    FileReader::new(settings.clone(), list_all(settings)?, waker, nobody())
}

fn read(settings: &FileSource) -> Result<Flat, ConnectorError> {
    let (waker, wakes) = bell();
    drain(&mut reader(settings, waker)?, &wakes)
}

fn values(flat: Flat) -> Vec<String> {
    flat.into_iter().map(|(_, value)| String::from_utf8(value).unwrap()).collect()
}

/// Reads `batches` batches of at most `records` records, or to the end.
fn take(
    reader: &mut (impl SourceReader + ?Sized),
    wakes: &Receiver<()>,
    batches: usize,
    records: usize,
) -> Result<Flat, ConnectorError> {
    let mut flat = Flat::new();
    for _ in 0..batches {
        let batch = loop {
            match reader.poll(BatchTarget { records, ..target() }, Now::default())? {
                SourcePoll::Batch(batch) => break batch,
                SourcePoll::Pending => wakes.recv().unwrap(),
                SourcePoll::Ended => return Ok(flat),
            }
        };
        assert_eq!(batch.values.ends.last(), Some(&(batch.values.data.len() as u32)));
        if let RecordKeys::Of { dictionary, .. } = &batch.keys {
            assert_eq!(dictionary.keys.len(), batch.len());
            assert_eq!(dictionary.keys.ends.last(), Some(&(dictionary.keys.data.len() as u32)));
        }
        let key = |index| batch.key(index).map(<[u8]>::to_vec);
        flat.extend(batch.values.iter().enumerate().map(|(at, value)| (key(at), value.to_vec())));
    }
    Ok(flat)
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
    for (name, content) in [("b", "3\n4"), ("a", "1\n2\n"), ("c", ""), ("d", "5\r\n"), ("e.gz", "")]
    {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let settings = settings(directory.path(), "*", Format::Lines, 100);
    assert_eq!(values(read(&settings).unwrap()), ["1", "2", "3", "4", "5"]);
    let ids: Vec<_> = list_all(&settings)
        .unwrap()
        .iter()
        .map(|partition| partition.at.partition.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["a:0-4", "b:0-3", "c:0-0", "d:0-3", "e.gz"]);
}

#[test]
fn a_poll_does_not_go_on_for_ever_where_there_are_no_records() {
    let directory = tempfile::tempdir().unwrap();
    let mut content = vec![b'\n'; 24 << 20];
    content.extend_from_slice(b"{}\n");
    fs::write(directory.path().join("a"), content).unwrap();
    let (waker, wakes) = bell();
    let mut reader =
        reader(&settings(directory.path(), "a", Format::Ndjson, u64::MAX), waker).unwrap();
    let mut breaks = 0;
    let batch = loop {
        match reader.poll(target(), Now::default()).unwrap() {
            SourcePoll::Batch(batch) => break batch,
            SourcePoll::Pending if reader.is_ready() => breaks += 1,
            SourcePoll::Pending => wakes.recv().unwrap(),
            SourcePoll::Ended => panic!("there is a record"),
        }
    };
    assert!(batch.len() == 1 && breaks > 0, "{breaks}");
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
    assert_eq!(list_all(&settings).unwrap().len(), 1);
    let records = read(&settings).unwrap();
    assert_eq!(records[0], (Some(b"1".to_vec()), b"{\"k\":\"1\",\"v\":\"a\\nb\"}".to_vec()));
    assert_eq!(records.len(), 2);
}

#[test]
fn a_pattern_without_files_and_too_many_partitions_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let none = list_all(&settings(directory.path(), "*.txt", Format::Lines, 9)).unwrap_err();
    assert_eq!(none.fault, ConnectorFault::MissingInput);
    assert!(none.message.contains("*.txt"), "{none}");
    let file = fs::File::create(directory.path().join("a.txt")).unwrap();
    file.set_len(PARTITIONS_MAX + 1).unwrap();
    let many = list_all(&settings(directory.path(), "*.txt", Format::Lines, 1)).unwrap_err();
    assert!(many.message.contains("more than 100000 partitions"), "{many}");
    // All sources of a job share the room.
    file.set_len(PARTITIONS_MAX / 2 + 1).unwrap();
    let settings = settings(directory.path(), "*.txt", Format::Lines, 1);
    let mut listing = Listing::default();
    assert!(list("in", &settings, &mut listing).is_ok());
    assert!(list("again", &settings, &mut listing).is_err());
}
